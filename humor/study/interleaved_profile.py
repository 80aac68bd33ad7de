"""Training steps in several precisions, timed by phase.

The precisions alternate, a step each, on one network with one optimizer: machine drift affects all of them alike, and
the memory that a precision takes is that of a separate run. Batches come from the trainer's loader.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch.profiler import record_function

from ..data.batches import WindowSampler
from ..data.store import MotionStore
from ..data.windows import WindowBatch
from ..errors import SettingError
from ..losses import HumorLoss
from ..model import HumorModel
from ..precision.presets import Precision, PrecisionName
from ..training.execution import Execution
from ..training.optimizer import Adamax
from ..training.phase_timer import STEP_PHASES, PhaseTimer
from ..training.step import TrainStep
from .phase_limits import PhaseWork, Rates, WorkCounter
from .torch_profiler import chrome_trace

PHASES = ("wait", *STEP_PHASES)
STEP = "step"  # what a whole step is called in a trace
TRACED = 2  # steps of each precision


@dataclass(frozen=True)
class ProfileSettings:
    """What to measure, and for how long; batch and widths are the study's."""

    batch: int = 8  # windows a step
    precisions: tuple[PrecisionName, ...] = ("fp32", "fp16")  # the first is the reference
    widths: tuple[int, ...] = (1, 4)  # factors on every hidden size; 4 is the study's wide network
    steps: int = 30  # of each precision at each width
    warm_up: int = 3  # steps before them, after the first; fewer where they would take longer
    seconds: float = 20.0  # most that the steps of a precision take at a width, or a linear layer in all of them
    execution: Execution = "eager"  # how a step runs: by operators, compiled, or as a recorded CUDA graph
    rows: int = 2000  # of the linear layers' input

    def __post_init__(self) -> None:
        for name in ("batch", "steps", "rows"):
            if getattr(self, name) < 1:
                raise SettingError(f"{name} {getattr(self, name)}: expected a whole number from 1.")
        for name in ("precisions", "widths"):
            given = getattr(self, name)
            if not given or len(set(given)) != len(given):
                raise SettingError(f"{name} {' '.join(map(str, given))}: expected one or more, none twice.")
        if min(self.widths) < 1:
            raise SettingError(f"widths {' '.join(map(str, self.widths))}: expected whole numbers from 1.")
        if self.warm_up < 0:
            raise SettingError(f"warm_up {self.warm_up}: expected a whole number from 0.")
        if not self.seconds > 0:
            raise SettingError(f"seconds {self.seconds}: expected a number above 0.")


@dataclass(frozen=True)
class StepTimes:
    """Seconds of one step: from its start until the device is done, and of each phase."""

    whole: float
    host: Mapping[str, float]  # until the host starts the next phase
    device: Mapping[str, float]  # on the GPU's clock; empty on a CPU

    @property
    def other(self) -> float:
        """What no phase accounts for: on a GPU, mostly the host's wait for it at the end."""
        return self.whole - sum(self.host.values())


@dataclass(eq=False)
class StepRun:
    """The steps of a precision at a width."""

    width: int
    precision: str
    first: StepTimes
    steps: list[StepTimes] = field(default_factory=list)
    peak_bytes: int | None = None  # on a GPU: the most that was allocated at once, bodies included
    work: dict[str, PhaseWork] = field(default_factory=dict)  # of each phase, run operator by operator

    def formats(self) -> set[str]:
        """The number formats that the step multiplies in."""
        return {name for work in self.work.values() for name in work.operations}

    def summary(self, rates: Rates | None = None) -> dict[str, Any]:
        """Medians, the quartiles of the whole step, and the phases' limits, for profile.json."""
        low, middle, high = np.quantile([step.whole for step in self.steps], (0.25, 0.5, 0.75)).tolist()
        entered = {*self.first.host, *(name for step in self.steps for name in step.host)}
        phases = {
            name: {
                "host": _median(step.host.get(name) for step in self.steps),
                "device": _median(step.device.get(name) for step in self.steps),
                "first": self.first.host.get(name),
            }
            for name in (*PHASES, "graph")
            if name in entered
        }
        times = {"step": middle, "step_low": low, "step_high": high, "first": self.first.whole}
        times["other"] = median(step.other for step in self.steps)
        named = {"width": self.width, "precision": self.precision, "steps": len(self.steps)}
        work = {
            name: {**work.summary(), "limits": rates.seconds(work)}
            for name, work in self.work.items()
            if rates is not None
        }
        return {**named, "phases": phases, **times, "peak_bytes": self.peak_bytes, "work": work}


class StepTimer(PhaseTimer):
    """Time by phase on the host and on a GPU; both backward passes, of loss and network, are one phase."""

    def __init__(self, device: torch.device, now: Callable[[], float] = perf_counter) -> None:
        super().__init__(torch.device("cpu"), now)
        self.gpu = PhaseTimer(device) if device.type == "cuda" else None

    def enter(self, phase: str) -> None:
        """Begin a phase, which ends the one before."""
        if phase == "network backward":
            return
        super().enter(phase)
        if self.gpu is not None:
            self.gpu.enter(phase)

    def finish(self) -> tuple[dict[str, float], dict[str, float]]:
        """Seconds of each phase of a step that ends here, on the host and on the device, which is waited for."""
        host, device = self.read(), {} if self.gpu is None else self.gpu.read()
        for timer in (self, self.gpu):
            if timer is not None:
                timer.stop()
        return host, device


class InterleavedSteps:
    """Steps of one network in several precisions, which alternate. `now` is the host's clock, in seconds."""

    def __init__(
        self,
        settings: ProfileSettings,
        width: int,
        loss: HumorLoss,
        batches: Iterator[WindowBatch],
        device: torch.device,
        now: Callable[[], float] = perf_counter,
    ) -> None:
        self.settings, self.width, self.batches, self.device, self.now = settings, width, batches, device, now
        torch.manual_seed(0)
        model = HumorModel(width).to(device)
        self.optimizer, self.timer = Adamax(model.parameters()), StepTimer(device, now)
        self.steps: dict[str, TrainStep] = {
            name: TrainStep(
                model, loss, self.optimizer, Precision(name), timer=self.timer, execution=settings.execution
            )
            for name in settings.precisions
        }
        for step in self.steps.values():
            step.settle_gradient_scale()

    def time_step(self, precision: str) -> StepTimes:
        """Take one step, waiting for its batch and then for the device."""
        step = self.steps[precision]
        step.half_weights.refresh()  # of weights that the others have changed
        started = self.now()
        with record_function(STEP):
            self.timer.enter("wait")
            with record_function("wait"):
                batch = next(self.batches)
            step(batch)
            host, device = self.timer.finish()
        return StepTimes(self.now() - started, host, device)

    def first_steps(self) -> list[StepRun]:
        """Take each precision's first step, which allocates the optimizer's averages, compiles, and so on."""
        runs = []
        for name in self.steps:
            self.optimizer.state.clear()
            runs.append(StepRun(self.width, name, self.time_step(name)))
        return runs

    def count_work(self, runs: list[StepRun]) -> None:
        """Take one more step of each precision, not timed, to count what the operators of each phase do."""
        for run in runs:
            step = self.steps[run.precision]
            step.half_weights.refresh()
            batch = next(self.batches)
            with WorkCounter() as counter:
                step.eager_twin(counter.timer)(batch)
            run.work = dict(counter.work)

    def measure(self, runs: list[StepRun], on_progress: Callable[[float], None]) -> None:
        """Add steps to the runs, always to the one that is furthest behind.

        Runs of the same speed alternate; a slow one has its fewer steps spread over the whole time. Interrupted, the
        runs keep what was measured. `on_progress` is called with the share that is done, 0 to 1.
        """
        warmed = {name: 0.0 for name in self.steps}
        for _ in range(self.settings.warm_up):
            for run in runs:
                if warmed[run.precision] < self.settings.seconds:
                    warmed[run.precision] += self.time_step(run.precision).whole
        done = {name: 0.0 for name in self.steps}  # the larger share: of the steps or of the time
        measured = {name: 0.0 for name in self.steps}
        while min(done.values()) < 1:
            run = min(runs, key=lambda run: done[run.precision])
            self._measure_one(run, measured)
            steps = len(run.steps) / self.settings.steps
            done[run.precision] = max(steps, measured[run.precision] / self.settings.seconds)
            on_progress(min(1.0, sum(done.values()) / len(done)))

    def _measure_one(self, run: StepRun, measured: dict[str, float]) -> None:
        graphs = self.steps[run.precision].graph_cache
        replays = 0 if graphs is None else graphs.replays
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        times = self.time_step(run.precision)
        measured[run.precision] += times.whole
        if graphs is not None and graphs.replays == replays:
            return  # an eager step, or one that recorded its graph
        run.steps.append(times)
        if self.device.type == "cuda":
            run.peak_bytes = max(run.peak_bytes or 0, torch.cuda.max_memory_allocated(self.device))

    def trace(self, path: Path) -> None:
        """Write a few steps of each precision as a Chrome trace, to be opened at ui.perfetto.dev."""
        with chrome_trace(self.device, path):
            for name in self.steps:
                for _ in range(TRACED):
                    with record_function(name):
                        self.time_step(name)


class RepeatedSampler(WindowSampler):
    """Draws every batch several times in a row, so that every precision sees the same windows.

    With `one_layout` every batch is the first, since another one has other numbers of windows of each gender, and a
    graph of its own.
    """

    def __init__(self, store: MotionStore, batch_size: int, times: int, one_layout: bool = False) -> None:
        super().__init__(store, batch_size, seed=0)
        self.times, self.one_layout = times, one_layout

    def draw(self, epoch: int, index: int) -> tuple[Int[np.ndarray, " B"], Int[np.ndarray, " B"]]:
        """Clips and first frames of a batch's windows."""
        return super().draw(epoch, 0 if self.one_layout else index // self.times)


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None
