"""What cannot be read or written is named, and before the work where it can be."""

import os
import tempfile
from pathlib import Path

import pytest

from humor.errors import FileError
from humor.io.files import create_folder, find_files


def test_a_folder_that_cannot_be_read_is_named_and_the_rest_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("closed/a", "open/b"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    scan = os.scandir

    def scan_open(folder):
        if Path(folder).name == "closed":
            raise PermissionError(13, "Permission denied")
        return scan(folder)

    monkeypatch.setattr(os, "scandir", scan_open)
    assert find_files(tmp_path) == (
        [tmp_path / "open/b"],
        [f"{tmp_path}/closed: cannot be read (Permission denied), so what is in it is left out."],
    )


def test_a_folder_that_is_there_and_cannot_be_written_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_folder(tmp_path / "new")
    assert list((tmp_path / "new").iterdir()) == []

    def refuse(dir):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(FileError) as error:
        create_folder(tmp_path / "new")
    assert str(error.value) == (
        f"{tmp_path}/new: cannot be written (Permission denied); check --out and its free space."
    )
