"""A training run's folder: what identifies the run, its checkpoints, and how it is asked to stop."""

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
from .step import Step

LAST, BEST = "last.pt", "best.pt"
FREE = ("epochs", "batch_size", "save_every", "log_every")  # settings that may change in the middle of a run


@dataclass
class Position:
    """The next step to take, and what the steps before it left to remember."""

    epoch: int = 0
    step: int = 0
    best: float = inf
    left_out: int = 0  # batches whose loss or gradient was not finite
    overflows: int = 0  # of float16's scale, which is found by them


@dataclass(frozen=True)
class RunIdentity:
    """Everything that a run's losses follow from, by name."""

    values: Mapping[str, Any]

    @classmethod
    def of(cls, settings: TrainSettings, split: Split, steps: int, windows: int) -> "RunIdentity":
        """The settings, with what they come to: steps an epoch, windows a step of all processes, and the motion."""
        chosen = {name: value for name, value in asdict(settings).items() if name not in FREE}
        return cls({**chosen, "steps_per_epoch": steps, "windows a step": windows, "motion": split.fingerprint})

    def differences(self, found: Mapping[str, Any]) -> list[str]:
        """A phrase for each value that another run has otherwise."""
        names = dict.fromkeys([*self.values, *found])
        return [
            f"{name} {found.get(name)}, not {self.values.get(name)}"
            for name in names
            if found.get(name) != self.values.get(name)
        ]


class Run:
    """The folder of a run. `sizes`, None for a new run, are those of its tables at the checkpoint it goes on from."""

    def __init__(self, out: Path, identity: RunIdentity) -> None:
        self.out, self.identity = out, identity
        self.sizes: Mapping[str, int] | None = None

    def read(self) -> Mapping[str, Any] | None:
        """The last checkpoint, if there is one.

        Raises SettingError naming each setting that is another, and CheckpointError for what is no run's.
        """
        path = self.out / LAST
        if not path.is_file():
            return None
        saved = read_checkpoint(path)
        settings = saved.get("settings")
        if not isinstance(settings, Mapping):
            raise CheckpointError(f"{path}: not the checkpoint of a training run; use another --out.")
        differences = self.identity.differences(settings)
        if differences:
            raise SettingError(
                f"{self.out} holds a run with {'; '.join(differences)}; give its settings to go on, or another --out."
            )
        return saved

    def restore(self, saved: Mapping[str, Any], step: Step) -> Position:
        """Put everything back as it was saved, and forget what was logged after."""
        try:
            step.model.load_state_dict(saved["model"])
            step.optimizer.load_state_dict(saved["optimizer"])
            step.scaler.load_state_dict(saved["scaler"])
            _restore_random(saved["random"])
            self.sizes = dict(saved["files"])
            return Position(**saved["position"])
        except (KeyError, ValueError, TypeError, RuntimeError) as error:
            raise CheckpointError(f"{self.out / LAST}: incomplete ({error}); use another --out.") from error

    def save_last(self, step: Step, position: Position, sizes: Mapping[str, int]) -> None:
        """Everything that going on takes. The network's weights are where `HumorModel.load_checkpoint` looks."""
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

    def save_best(self, step: Step, position: Position) -> None:
        """The weights alone, with where they come from."""
        content = {
            "model": step.model.state_dict(),
            "position": asdict(position),
            "settings": dict(self.identity.values),
        }
        save_checkpoint(content, self.out / BEST)


class StopRequest:
    """While it is entered, Ctrl-C and SIGTERM only set `asked`; a second Ctrl-C interrupts at once."""

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
    """Of every global generator. The loop draws from none of them; what is built on it may."""
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
