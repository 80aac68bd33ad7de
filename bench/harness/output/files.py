"""Writes files that are either whole or not there."""

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest


def check_writable(path: Path, in_one_move: bool = True) -> None:
    """Raise OSError with a sentence where a file cannot be written: by `write_whole`, or as it stands in its folder.

    Nothing is left behind: minutes of measuring may come before the file, or none.
    """
    try:
        if path.is_dir():
            raise IsADirectoryError(0, "it is a folder")
        folder = path.absolute().parent
        if in_one_move:
            folder = next(each for each in (folder, *folder.parents) if each.exists())
        elif path.exists():
            path.open("ab").close()
            return
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise _unwritable(path, error) from None


def require_writable(option: str, path: Path | None, in_one_move: bool = True) -> None:
    """Raise UsageError where the file that an option names, if it is given, cannot be written."""
    if path is not None:
        try:
            check_writable(path, in_one_move)
        except OSError as error:
            raise pytest.UsageError(f"{option} {error}") from None


def write_whole(path: Path, content: bytes) -> None:
    """Write a file in one move, and its folder where there is none. Raises OSError with a sentence."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            unfinished.write_bytes(content)
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        raise _unwritable(path, error) from None


def _unwritable(path: Path, error: OSError) -> OSError:
    return OSError(f"{path}: cannot be written ({error.strerror}); check the path and its free space.")


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON document in one move. Raises OSError with a sentence."""
    write_whole(path, (json.dumps(content, indent=1) + "\n").encode())
