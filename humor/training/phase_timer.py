"""The time of each phase of training, on the device's clock."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from time import perf_counter

import torch

# The phases of training in order, each with its title in a table.
PHASES: Mapping[str, str] = {
    "wait": "wait for data",
    "prepare": "prepare data",
    "sample": "sample (network forward)",
    "loss": "loss",
    "backward": "backward through the loss",
    "network backward": "backward through the network",
    "optimize": "optimize",
    "graph": "recorded graph: all after prepare",  # replaces the phases that it contains
}
# Those of one eager step by itself, where "backward" is of loss and network together.
STEP_PHASES = ("prepare", "sample", "loss", "backward", "optimize")


class PhaseTimer:
    """Seconds of each phase. Phases follow each other without a gap, so that they add up to the whole.

    On CUDA they are measured by events: nothing waits for the device until the seconds are read, and time in which the
    device is idle counts for the phase that has not launched work yet.
    """

    def __init__(self, device: torch.device, now: Callable[[], float] = perf_counter) -> None:
        self.device, self._host_now = device, now
        self._marks: list[tuple[str, float | torch.cuda.Event]] = []

    def enter(self, phase: str) -> None:
        """Begin a phase, which ends the previous one. Entering the current phase again restarts it."""
        if self._marks and self._marks[-1][0] == phase:
            self._marks.pop()
        self._marks.append((phase, self._now()))

    def read(self) -> dict[str, float]:
        """Seconds of each phase since the last `read` or `stop`, the current phase included so far."""
        if not self._marks:
            return {}
        self._marks.append((self._marks[-1][0], self._now()))
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        seconds: dict[str, float] = defaultdict(float)
        for (phase, began), (_, ended) in zip(self._marks, self._marks[1:], strict=False):
            seconds[phase] += _between(began, ended)
        del self._marks[:-1]
        return dict(seconds)

    def stop(self) -> None:
        """Discard what was not read, and measure nothing until the next `enter`."""
        self._marks.clear()

    def _now(self) -> float | torch.cuda.Event:
        if self.device.type != "cuda":
            return self._host_now()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event


def _between(began: float | torch.cuda.Event, ended: float | torch.cuda.Event) -> float:
    if isinstance(began, float) or isinstance(ended, float):
        assert isinstance(began, float)
        assert isinstance(ended, float)
        return ended - began
    return float(began.elapsed_time(ended)) / 1000
