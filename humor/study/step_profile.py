"""Where a training step's time goes on this machine, phase by phase, precision by precision, and width by width."""

import platform
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ..body import BodyModel
from ..data.batches import BatchLoader
from ..data.store import MotionStore
from ..losses import HumorLoss
from ..precision.presets import Precision
from ..training.execution import require_execution
from .interleaved_profile import InterleavedSteps, ProfileSettings, RepeatedSampler, StepRun
from .phase_limits import Rates, measure_rates
from .torch_profiler import LinearCall, split_linear

LINEAR_SIZES = (1024, 4096)  # of the study's Figures 3 and 4
_ENDLESS = 1 << 40  # steps of an epoch
OnProgress = Callable[[str, float], None]  # the part under way, and the share of it that is done, 0 to 1


@dataclass(eq=False)
class Profile:
    """What was measured so far."""

    settings: ProfileSettings
    device: torch.device
    runs: list[StepRun] = field(default_factory=list)
    linear: dict[tuple[int, str], list[LinearCall]] = field(default_factory=dict)
    rates: Rates | None = None  # of the device, once measured

    def document(self) -> dict[str, Any]:
        """The whole of it for profile.json; runs without a measured step are left out."""
        middle = [sorted(calls, key=lambda call: call.total)[len(calls) // 2] for calls in self.linear.values()]
        return {
            "kind": "profile",
            "machine": describe_machine(self.device),
            "batch": self.settings.batch,
            "steps": self.settings.steps,
            "execution": self.settings.execution,
            "rates": None if self.rates is None else asdict(self.rates),
            "runs": [run.summary(self.rates) for run in self.runs if run.steps],
            "linear": [call.summary() for call in middle],
        }


def measure_profile(
    profile: Profile, store: MotionStore, bodies: Mapping[str, BodyModel], trace: Path | None, on_progress: OnProgress
) -> None:
    """Fill a profile width by width, then with the linear layers; interrupted, it keeps what was measured.

    Raises SettingError for what the device cannot do, before anything is measured.
    """
    settings, device = profile.settings, profile.device
    for name in settings.precisions:
        Precision(name).require(device)
    require_execution(settings.execution, device)
    loss = HumorLoss(bodies).to(device)
    one_layout = settings.execution == "cuda-graph"
    sampler = RepeatedSampler(store, settings.batch, len(settings.precisions), one_layout)
    for width in settings.widths:
        label = f"width {width}"
        on_progress(label, 0.0)
        with closing(BatchLoader(sampler.batch, _ENDLESS, device).epoch(0)) as batches:
            steps = InterleavedSteps(settings, width, loss, batches, device)
            runs = steps.first_steps()
            profile.runs += runs
            steps.count_work(runs)
            profile.rates = profile.rates or measure_rates(device, set[str]().union(*(run.formats() for run in runs)))
            steps.measure(runs, partial(on_progress, label))
            if trace is not None and width == settings.widths[0]:
                steps.trace(trace)
        del steps  # or its network is kept while the next is made
    for size in LINEAR_SIZES:
        label = f"linear {size}"
        on_progress(label, 0.0)
        for share, call in split_linear(size, settings.rows, settings.precisions, device, settings.seconds):
            profile.linear.setdefault((size, call.precision), []).append(call)
            on_progress(label, share)


def describe_machine(device: torch.device) -> dict[str, Any]:
    """What the times were measured on, and when."""
    return {
        "name": _processor(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        "torch": str(torch.__version__),
        "threads": torch.get_num_threads(),
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _processor() -> str:
    """The processor's model, where the system knows it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return next(iter(named), platform.processor() or platform.machine())
