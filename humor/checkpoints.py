"""Checkpoints: dictionaries of tensors and plain values that are either wholly on disk or not there at all."""

import os
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .arrays import require_file
from .errors import CheckpointError, FileError


def save_checkpoint(content: Mapping[str, Any], path: Path) -> None:
    """Put a checkpoint in the place of the one before it in one move; until then the one before stays whole.

    Raises FileError where it cannot be written, and leaves nothing of it.
    """
    temporary = path.with_name(f".{path.name}.unfinished")
    try:
        with temporary.open("wb") as file:
            torch.save(dict(content), file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except (OSError, RuntimeError) as error:  # a full disk reaches torch.save as OSError and leaves it as RuntimeError
        temporary.unlink(missing_ok=True)
        cause = error if isinstance(error, OSError) else error.__context__
        reason = cause.strerror if isinstance(cause, OSError) and cause.strerror else str(error)
        kept = "the checkpoint before it is whole" if path.is_file() else "there is none before it"
        raise FileError(
            f"{path}: could not be saved ({reason}), {kept}; make room and run the same command to go on from there."
        ) from error


def read_checkpoint(path: str | Path) -> Mapping[str, Any]:
    """The content of a checkpoint, on the CPU; no code in the file is run.

    Raises FileError for a missing file and CheckpointError for one that is damaged or holds more than plain values.
    """
    path = require_file(path)
    try:
        with warnings.catch_warnings():  # about the damage that is told below
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path}: holds more than tensors and plain values, or is damaged, so it was not read; "
            'save {"model": model.state_dict()}.'
        ) from error
    except Exception as error:  # damaged files end in almost any exception
        raise CheckpointError(f"{path}: not a readable checkpoint ({type(error).__name__}); copy it again.") from error
    return content if isinstance(content, Mapping) else {}


def read_weights(path: str | Path) -> Mapping[str, Tensor]:
    """The network weights of a checkpoint: its "model" entry, tensors by name."""
    weights = read_checkpoint(path).get("model")
    if not isinstance(weights, Mapping) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise CheckpointError(f'{path}: no "model" entry with tensors by name; save {{"model": model.state_dict()}}.')
    return weights


def _sync_folder(folder: Path) -> None:
    """Make a move last through a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
