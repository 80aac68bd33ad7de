"""A training run's folder: the identity of the run, its checkpoints, and the request to stop it."""

import random
import signal
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import inf
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, cast

import numpy as np
import torch

from ..errors import CheckpointError, SettingError
from ..io.checkpoints import read_checkpoint, save_checkpoint
from .settings import TrainSettings
from .split import Split
from .step import BaseStep

LAST, BEST = "last.pt", "best.pt"
CHANGEABLE = ("epochs", "batch_size", "save_every", "log_every")  # settings that may change in the middle of a run


@dataclass
class Position:
    """The next step of a run, and counts and the best score of the steps before it."""

    epoch: int = 0
    step: int = 0
    best: float = inf
    skipped: int = 0  # batches whose loss or gradient was not finite
    overflows: int = 0  # of float16, by which its gradient scale is found


@dataclass(frozen=True)
class RunIdentity:
    """Everything that determines a run's losses, by name."""

    values: Mapping[str, Any]

    @classmethod
    def of(cls, settings: TrainSettings, split: Split, steps: int, windows: int) -> "RunIdentity":
        """The settings, steps an epoch, windows a step of all processes, and the motion."""
        chosen = {name: value for name, value in asdict(settings).items() if name not in CHANGEABLE}
        return cls({**chosen, "steps_per_epoch": steps, "windows a step": windows, "motion": split.fingerprint})

    def differences(self, other: Mapping[str, Any]) -> list[str]:
        """A phrase for each value that differs in another run."""
        names = dict.fromkeys([*self.values, *other])
        return [
            f"{name} {other.get(name)}, not {self.values.get(name)}"
            for name in names
            if other.get(name) != self.values.get(name)
        ]


class RunFolder:
    """The folder of a run. `sizes` are the bytes of its tables at the last checkpoint, None for a new run."""

    def __init__(self, out: Path, identity: RunIdentity) -> None:
        self.out, self.identity = out, identity
        self.sizes: Mapping[str, int] | None = None

    def read(self) -> Mapping[str, Any] | None:
        """Read the last checkpoint, if there is one.

        Raises SettingError naming each setting that differs, and CheckpointError for a checkpoint of something else or
        of a version of humor with other settings.
        """
        path = self.out / LAST
        if not path.is_file():
            return None
        saved = read_checkpoint(path)
        settings = saved.get("settings")
        if not isinstance(settings, Mapping):
            raise CheckpointError(f"{path}: not the checkpoint of a training run; use another --out.")
        others = sorted(settings.keys() ^ self.identity.values.keys())
        if others:
            raise CheckpointError(
                f"{path}: a run of another model or of another version of humor, which differ in the settings "
                f"{', '.join(others)}; use another --out."
            )
        differences = self.identity.differences(settings)
        if differences:
            raise SettingError(
                f"{self.out} holds a run with {'; '.join(differences)}; give its settings to go on, or another --out."
            )
        return saved

    def restore(self, saved: Mapping[str, Any], step: BaseStep) -> Position:
        """Restore everything from a checkpoint, and discard what was logged after it."""
        try:
            step.model.load_state_dict(saved["model"])
            step.optimizer.load_state_dict(saved["optimizer"])
            step.scaler.load_state_dict(saved["scaler"])
            _restore_random(saved["random"])
            self.sizes = dict(saved["files"])
            return Position(**saved["position"])
        except (KeyError, ValueError, TypeError, RuntimeError) as error:
            raise CheckpointError(f"{self.out / LAST}: incomplete ({error}); use another --out.") from error

    def save_last(self, step: BaseStep, position: Position, sizes: Mapping[str, int]) -> None:
        """Save everything that resuming needs; the weights under the key that `HumorModel.load_checkpoint` reads."""
        content = {
            "model": step.model.state_dict(),
            "optimizer": step.optimizer.state_dict(),
            "scaler": step.scaler.state_dict(),
            "random": _random_states(),
            "position": asdict(position),
            "settings": dict(self.identity.values),
            "files": dict(sizes),
        }
        save_checkpoint(content, self.out / LAST)
        self.sizes = dict(sizes)

    def save_best(self, step: BaseStep, position: Position) -> None:
        """Save the weights, with the run's settings and position."""
        content = {
            "model": step.model.state_dict(),
            "position": asdict(position),
            "settings": dict(self.identity.values),
        }
        save_checkpoint(content, self.out / BEST)


class StopRequest:
    """A scope in which Ctrl-C and SIGTERM only set `asked`; a second Ctrl-C interrupts at once."""

    def __init__(self) -> None:
        self.asked = False

    def __enter__(self) -> "StopRequest":
        self._before = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.asked = True


def _random_states() -> dict[str, Any]:
    """The state of every global generator. Training draws from none of them, but a subclass may."""
    name, keys, at, gauss, cached = cast(tuple[str, np.ndarray, int, int, float], np.random.get_state())
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": (name, torch.from_numpy(keys.astype(np.int64)), int(at), int(gauss), float(cached)),
        "python": random.getstate(),
    }


def _restore_random(states: Mapping[str, Any]) -> None:
    torch.set_rng_state(states["torch"])
    if torch.cuda.is_available() and len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(states["cuda"])
    name, keys, at, gauss, cached = states["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), at, gauss, cached))
    version, numbers, following = states["python"]
    random.setstate((version, tuple(numbers), following))
