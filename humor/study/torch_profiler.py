"""What PyTorch's profiler records: a trace for a viewer, and what a linear layer's time is made of."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function

from ..io.files import write_whole
from ..precision.presets import Precision

CALLS = 10  # of a linear layer in each precision
CASTS, KERNELS = ("aten::to", "aten::_to_copy"), ("aten::addmm", "aten::mm", "aten::mkldnn_linear")
_CALL = "linear call"


@contextmanager
def profiled(device: torch.device) -> Iterator[profile]:
    """Run PyTorch's profiler, without the lines that it prints when it starts and stops."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    gpu = [ProfilerActivity.CUDA] if device.type == "cuda" else []
    with profile(activities=[ProfilerActivity.CPU, *gpu], acc_events=True) as profiler:  # or PyTorch 2.11 warns
        yield profiler


@contextmanager
def chrome_trace(device: torch.device, path: Path) -> Iterator[None]:
    """Write what is inside as a Chrome trace, a .json.gz, to be opened at ui.perfetto.dev. Raises FileError."""
    with profiled(device) as profiler:
        yield
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "trace.json.gz")
        profiler.export_chrome_trace(str(file))
        write_whole(path, file.read_bytes())


@dataclass(frozen=True)
class LinearCall:
    """Seconds of one forward pass of a linear layer; casts, launch and kernel add up to the total."""

    size: int  # inputs, and outputs
    rows: int
    precision: str
    casts: float  # of input, weight and bias to half
    launch: float  # the rest: dispatch, launches, freed memory, autocast's work and the profiler's
    kernel: float  # the product
    total: float  # until the device is done

    def summary(self) -> dict[str, Any]:
        """For profile.json."""
        return asdict(self)


@runtime_checkable
class Event(Protocol):
    """What is read of a profiler's event; microseconds, nested events included."""

    name: str
    cpu_time_total: float
    device_time_total: float
    cpu_children: Sequence["Event"]


def split_linear(
    size: int, rows: int, precisions: Sequence[str], device: torch.device, seconds: float
) -> Iterator[tuple[float, LinearCall]]:
    """Call a layer in alternating precisions, until all have `CALLS` calls or the time is over.

    Yields the share that is done, 0 to 1, with each call.
    """
    torch.manual_seed(0)
    layer, inputs = nn.Linear(size, size).to(device), torch.randn(rows, size, device=device)

    def call(precision: str) -> None:
        with Precision(precision).autocast_scope(device):
            layer(inputs)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    for name in precisions:
        call(name)
    began, share, taken = perf_counter(), 0.0, 0
    while share < 1:
        taken += 1
        for name in precisions:
            with profiled(device) as profiler, record_function(_CALL):
                call(name)
            share = max(taken / CALLS, (perf_counter() - began) / seconds)
            whole = next(event for event in profiler.events() or () if event.name == _CALL)
            yield min(1.0, share), LinearCall(size, rows, name, **split_call(whole, device.type == "cuda"))


def split_call(whole: Event, on_gpu: bool) -> dict[str, float]:
    """Seconds of a call's parts: casts and the product, on the device that runs them, and the rest."""

    def within(event: Event, names: Sequence[str]) -> float:
        if event.name in names:
            return event.device_time_total if on_gpu else event.cpu_time_total
        return sum(within(child, names) for child in event.cpu_children)

    casts, kernel, total = within(whole, CASTS) / 1e6, within(whole, KERNELS) / 1e6, whole.cpu_time_total / 1e6
    return {"casts": casts, "launch": total - casts - kernel, "kernel": kernel, "total": total}
