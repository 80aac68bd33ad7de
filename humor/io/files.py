"""Files that are written whole or not at all."""

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ..errors import FileError

UNFINISHED = ".unfinished"  # suffix of a file while it is written; left-over ones are never read


def how_to_mend(error: object) -> str:
    """What to do where a file could not be written."""
    no_room = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return "make room" if no_room else "allow writing there"


def create_folder(path: Path) -> None:
    """Create a folder unless it is there, and see that files can be written to it. Raises FileError."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path).close()
    except OSError as error:
        raise FileError(f"{path}: cannot be written ({error.strerror}); check --out and its free space.") from None


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """A file to write that replaces `path` in one move when the block ends; after an error nothing is left of it.

    Raises FileError where it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            dir=path.parent, prefix=f".{path.name}.", suffix=UNFINISHED, delete=False
        ) as file:
            try:
                yield file
                file.flush()
                os.fsync(file.fileno())
                os.chmod(file.name, 0o644)  # temporary files are readable by their owner only
                os.replace(file.name, path)
            except BaseException:
                os.unlink(file.name)
                raise
        _sync_folder(path.parent)
    except OSError as error:
        raise FileError(f"{path}: cannot be written ({error.strerror}); check --out and its free space.") from None


def write_whole(path: Path, content: bytes) -> None:
    """Write a file whole or not at all. Raises FileError."""
    with whole_file(path) as file:
        file.write(content)


def find_files(folder: Path) -> tuple[list[Path], list[str]]:
    """Every file below a folder, linked folders included, and a sentence for each entry that leads to none.

    A link to a folder that it lies in is not entered again, which loses nothing.
    """
    files: list[Path] = []
    problems: list[str] = []

    def enter(folder: Path, above: frozenset[tuple[int, int]]) -> None:
        try:
            status = folder.stat()
            entries = list(os.scandir(folder))
        except OSError as error:
            problems.append(f"{folder}: cannot be read ({error.strerror}), so what is in it is left out.")
            return
        identity = (status.st_dev, status.st_ino)
        if identity in above:
            return
        for entry in entries:
            path = folder / entry.name
            if os.path.isdir(path) if entry.is_symlink() else entry.is_dir():
                enter(path, above | {identity})
            elif path.is_file():
                files.append(path)
            elif entry.is_symlink() and not entry.name.startswith("."):  # editors lock files by such links
                problems.append(f"{path}: a link to {os.readlink(path)}, which is not there; mend or remove the link.")

    enter(folder, frozenset())
    return sorted(files), sorted(problems)


def remove_unfinished(folder: Path) -> None:
    """Remove the files that killed runs left half-written below a folder."""
    for path in folder.rglob(f".*{UNFINISHED}"):
        path.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make the renaming of a file in the folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
