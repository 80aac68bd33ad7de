"""Checkpoints: dictionaries of tensors and plain values, written whole or not at all, read without running code."""

import pickle
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.serialization import safe_globals

from ..errors import CheckpointError, FileError, listed
from .files import how_to_mend, whole_file
from .untrusted_arrays import require_file


class _Ignored:
    """Stands for an object of numpy's beside weights, as a random state, which is neither needed nor made."""

    def __new__(cls, *_: object) -> "_Ignored":
        return super().__new__(cls)

    def __setstate__(self, _: object) -> None:
        pass


# What numpy's pickled numbers and random states name; the lifting networks' released checkpoints hold them.
_OF_NUMPY: list[Any] = [
    (_Ignored, name)
    for name in (
        "numpy.random._pickle.__randomstate_ctor",
        "numpy.random._pickle.__bit_generator_ctor",
        "numpy.random.__RandomState_ctor",
        "numpy.random._mt19937.MT19937",
        *(f"numpy.{core}.multiarray.{made}" for core in ("core", "_core") for made in ("_reconstruct", "scalar")),
        "numpy.ndarray",
        "numpy.dtype",
    )
]
MOST_NUMBERS = 10**9  # of a weight
# What stands in a weight's name for a wrapper around the network or a part of it.
WRAPPERS = ("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")


def save_checkpoint(content: Mapping[str, Any], path: Path) -> None:
    """Replace a checkpoint in one move; until then the one before it stays whole.

    Raises FileError where it cannot be written.
    """
    try:
        with whole_file(path) as file:
            try:
                torch.save(dict(content), file)
            except RuntimeError as error:  # torch's for an OSError, such as a full disk's
                raise error.__context__ if isinstance(error.__context__, OSError) else error  # noqa: B904
    except FileError as error:
        cause = error.__context__
        reason, mend = getattr(cause, "strerror", None), how_to_mend(cause)
        kept = "the checkpoint before it is whole" if path.is_file() else "there is none before it"
        raise FileError(
            f"{path}: cannot be written ({reason}), {kept}; {mend} and run the same command to go on from there."
        ) from error


def read_checkpoint(path: str | Path) -> Mapping[str, Any]:
    """The content of a checkpoint, on the CPU; no code in the file is run.

    Raises FileError for a missing file and CheckpointError for one that is damaged or holds more than plain values.
    """
    path = require_file(path)
    try:
        # Warnings are about the damage that is reported below.
        with warnings.catch_warnings(), safe_globals(_OF_NUMPY):
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


def read_weights(path: str | Path, entries: Sequence[str] = ("model",)) -> Mapping[str, Tensor]:
    """The network weights of a checkpoint: the first of these entries that it has, tensors by names in the network.

    What DataParallel, torch.compile and the like put into the names is taken out. Raises FileError or CheckpointError.
    """
    content = read_checkpoint(path)
    weights = next((content[entry] for entry in entries if entry in content), None)
    if not isinstance(weights, Mapping) or not all(
        isinstance(name, str) and _is_plain(w) for name, w in weights.items()
    ):
        expected = '" or "'.join(entries)
        raise CheckpointError(
            f'{path}: no "{expected}" entry with tensors by name; save {{"model": model.state_dict()}}.'
        )
    large = [name for name, weight in weights.items() if weight.numel() > MOST_NUMBERS]  # a few bytes can claim to be
    if large:
        raise CheckpointError(f"{path}: {listed(large)} larger than in any network; use another checkpoint.")
    broken = [name for name, weight in weights.items() if not weight.isfinite().all()]
    if broken:
        raise CheckpointError(f"{path}: {listed(broken)} not finite; use an earlier checkpoint.")
    names = [".".join(part for part in name.split(".") if part not in WRAPPERS) for name in weights]
    return dict(zip(names, weights.values(), strict=True)) if len(set(names)) == len(weights) else weights


def describe_mismatch(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> list[str]:
    """How the names and shapes of two sets of tensors differ, a phrase each."""
    missing = [name for name in wanted if name not in found]
    unexpected = [name for name in found if name not in wanted]
    problems = [f"missing {listed(missing)}"] if missing else []
    problems += [f"unexpected {listed(unexpected)}"] if unexpected else []
    shapes = [
        f"{name} has shape {tuple(found[name].shape)}, expected {tuple(wanted[name].shape)}"
        for name in wanted
        if name in found and found[name].shape != wanted[name].shape
    ]
    return [*problems, *filter(None, [listed(shapes)])]


def _is_plain(value: object) -> bool:
    """Whether a value is a dense tensor of floating-point numbers, not sparse, quantized or without storage."""
    return (
        isinstance(value, Tensor)
        and value.is_floating_point()
        and value.layout is torch.strided
        and value.device.type == "cpu"
    )
