"""Checkpoints that come from other trainings, ours or the published code's, and ours written as the published ones are.

The published code saves a dictionary: "model", the weights by name, "module." before each where several GPUs trained;
"optim", its Adamax's state; "epoch", the number of the epoch that ended last, from 0; "min_val_loss" and
"min_train_loss". Its reader wants all but the last. Source: the published code of Rempe et al. 2021.
"""

from collections.abc import Mapping, Sequence
from math import inf
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from ..errors import CheckpointError
from ..io.checkpoints import read_checkpoint
from ..model import HumorModel
from .optimizer import Adamax
from .settings import TrainSettings
from .step import BaseStep

_MOMENTS = ("exp_avg", "exp_inf")  # Adamax's, of a parameter's shape
# The published HuMoR-Qual holds smplx's SMPL+H of three genders, and its optimizer the six parameters of each, which
# are never trained, after the network's.
_QUAL_BODY_PARAMETERS = 3 * 6


@runtime_checkable
class _Loads(Protocol):
    """A network that reads its weights from checkpoints."""

    def load_checkpoint(self, path: str | Path) -> None: ...


def begin_from(path: str | Path, step: BaseStep) -> tuple[int, str]:
    """Load the weights of a checkpoint into a step's network, and its Adamax's state where it has one that fits.

    Returns the epoch with which its training goes on, 0 where the file does not say, and a sentence about it. Raises
    what the network's `load_checkpoint` raises.
    """
    content, model = read_checkpoint(path), step.model
    assert isinstance(model, _Loads)
    model.load_checkpoint(path)
    epoch, state = _epochs(content, path), None
    if isinstance(step.optimizer, Adamax):
        state = _adamax_state(content, list(step.model.parameters()))
    if state is not None:
        step.optimizer.load_state_dict({**step.optimizer.state_dict(), "state": state})
    optimizer = "the optimizer begins anew" if state is None else "with its optimizer's state"
    return epoch, f"beginning with epoch {epoch} from {path}, {optimizer}"


def published_checkpoint(path: str | Path) -> dict[str, Any]:
    """A checkpoint's content as the published code saves and loads it; without an optimizer's state, a fresh one's.

    Raises what `HumorModel.load_checkpoint` raises, and CheckpointError for a network of another width than 1.
    """
    content, model = read_checkpoint(path), HumorModel.load(path)
    if model.width != 1:
        raise CheckpointError(f"{path}: a network of width {model.width}; the published code has width 1 alone.")
    parameters = list(model.parameters())
    state = _adamax_state(content, parameters) or {}
    count = len(parameters) + (_QUAL_BODY_PARAMETERS if model.smpl_joint_inputs else 0)
    group = {"lr": _learning_rate(content), "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0}
    return {
        "model": model.state_dict(),
        "optim": {
            # A step count is a whole number there, as in PyTorch 1.6; later ones read both.
            "state": {number: {**each, "step": int(each["step"])} for number, each in state.items()},
            "param_groups": [{**group, "params": list(range(count))}],
        },
        "epoch": max(_epochs(content, path) - 1, 0),
        "min_val_loss": _min_validation_loss(content),
        "min_train_loss": inf,
    }


def _epochs(content: Mapping[str, Any], path: str | Path) -> int:
    """How many epochs a checkpoint's training had; 0 where it does not say. Raises CheckpointError."""
    position, last = content.get("position"), content.get("epoch", -1)
    epochs = position.get("epoch") if isinstance(position, Mapping) else isinstance(last, int) and last + 1
    if isinstance(epochs, bool) or not isinstance(epochs, int) or epochs < 0:
        raise CheckpointError(f'{path}: its "epoch" is no whole number from 0; use another checkpoint.')
    return epochs


def _adamax_state(
    content: Mapping[str, Any], parameters: Sequence[nn.Parameter]
) -> dict[int, dict[str, Tensor]] | None:
    """Adamax's state by the number of the parameter, or None where there is none for these parameters."""
    optimizer = content.get("optimizer", content.get("optim"))
    found = optimizer.get("state") if isinstance(optimizer, Mapping) else None
    if not isinstance(found, Mapping) or not all(_fits(found.get(k), x) for k, x in enumerate(parameters)):
        return None
    return {
        number: {
            "step": torch.as_tensor(float(found[number]["step"])),
            **{name: found[number][name] for name in _MOMENTS},
        }
        for number in range(len(parameters))
    }


def _fits(state: object, parameter: nn.Parameter) -> bool:
    """Whether this is the state of a parameter: its count of steps and two finite tensors of its shape."""
    if not isinstance(state, Mapping):
        return False
    steps, moments = state.get("step"), [state.get(name) for name in _MOMENTS]
    number = isinstance(steps, int | float) or (isinstance(steps, Tensor) and steps.numel() == 1)
    if not number or not 0 <= float(steps) < inf:  # type: ignore[arg-type]
        return False
    return all(
        isinstance(each, Tensor) and each.shape == parameter.shape and bool(each.isfinite().all()) for each in moments
    )


def _learning_rate(content: Mapping[str, Any]) -> float:
    """The learning rate of a checkpoint's optimizer; the published one where it has none."""
    optimizer = content.get("optimizer", content.get("optim"))
    groups = optimizer.get("param_groups") if isinstance(optimizer, Mapping) else None
    rate = groups[0].get("lr") if isinstance(groups, list) and groups and isinstance(groups[0], Mapping) else None
    return float(rate) if isinstance(rate, int | float) else TrainSettings.learning_rate


def _min_validation_loss(content: Mapping[str, Any]) -> float:
    position = content.get("position")
    found = position.get("best") if isinstance(position, Mapping) else content.get("min_val_loss")
    return float(found) if isinstance(found, int | float) else inf
