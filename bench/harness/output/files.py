"""Writes files that are either whole or not there."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


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
        raise OSError(f"{path}: cannot be written ({error.strerror}); check the path and its free space.") from None


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON document in one move. Raises OSError with a sentence."""
    write_whole(path, (json.dumps(content, indent=1) + "\n").encode())
