"""What a call does on a CUDA device: its kernels by name, copies and fills, launches and waits, from a profile of it.

Several calls are profiled, and must do the same: a number that changes by itself cannot be held.
"""

import hashlib
import json
import re
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from ..timing.clock import synchronize
from .counts_file import Counts, CountsError

CALLS = 3  # that are profiled
GAP = 0.01  # seconds between them, so that the clocks of host and device may differ by half of it
LONGEST = 120  # characters of a kernel's name; a longer one ends with a digest of the whole
_RANGE = "counted call"
_HOST, _DEVICE = ("cuda_runtime", "cuda_driver"), {"gpu_memcpy": "copies", "gpu_memset": "copies", "kernel": "kernels"}
_RUNTIME_CALLS = {
    "kernel launches": ("cudaLaunchKernel", "cudaLaunchCooperativeKernel", "cuLaunchKernel"),
    "graph launches": ("cudaGraphLaunch",),
    "copies and fills": ("cudaMemcpy", "cudaMemset"),
    "waits": ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize"),
}
Event = Mapping[str, Any]  # of a Chrome trace: "cat", "name", "ts" and "dur" in microseconds


def count_cuda_launches(function: Callable[[], Any]) -> Counts:
    """What a warm call does on the current device. Raises CountsError where it differs from run to run."""
    return counts_of_trace(trace_calls(function, torch.device("cuda")))


def trace_calls(function: Callable[[], Any], device: torch.device) -> Sequence[Event]:
    """The trace of CALLS calls, each in a range of its own and ended before the next begins."""
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]
    with profile(activities=activities, acc_events=True) as profiler:  # or PyTorch 2.11 warns
        torch.zeros(1, device=device)  # a kernel to be seen, as a call may have none
        for _ in range(CALLS):
            synchronize(device)
            time.sleep(GAP)
            with record_function(_RANGE):
                function()
        synchronize(device)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(file))
        events: Sequence[Event] = json.loads(file.read_text())["traceEvents"]
    return events


def counts_of_trace(events: Sequence[Event]) -> Counts:
    """The counts of the calls in a trace, all alike. Raises CountsError where they differ, or no kernel was seen."""
    timed = sorted((event for event in events if "dur" in event), key=lambda event: event["ts"])
    if not any(event.get("cat") in _DEVICE for event in timed):
        raise CountsError("the profiler saw no kernel on the device; end what else profiles it, and run again.")
    starts = [event["ts"] for event in timed if event.get("cat") == "user_annotation" and event["name"] == _RANGE]
    ends = [*(start - GAP / 2 * 1e6 for start in starts[1:]), float("inf")]
    calls = [
        _count_one([event for event in timed if start - GAP / 2 * 1e6 <= event["ts"] < end], start)
        for start, end in zip(starts, ends, strict=True)
    ]
    for number, call in enumerate(calls[1:], start=2):
        require_same(calls[0], call, number)
    return calls[0]


def require_same(first: Counts, other: Counts, number: int) -> None:
    """Raise CountsError that names the first kernel two calls differ in, by when it runs; or a copy, or total."""
    for section in ("kernels", "copies", "totals"):
        before, after = first.get(section, {}), other.get(section, {})
        for name in (*before, *after):
            once, then = before.get(name, 0), after.get(name, 0)
            if once != then:
                what = f"kernel {name}" if section == "kernels" else name
                raise CountsError(
                    f"{what}: {once} in the first of {CALLS} calls, {then} in call {number}; what a case does must not"
                    " change from call to call."
                )


def _count_one(events: Sequence[Event], start: float) -> Counts:
    """The counts of one call, whose range begins at `start`, from the events of its part of the trace."""
    end = next(event["ts"] + event["dur"] for event in events if event["ts"] == start and event["name"] == _RANGE)
    counts: dict[str, Counter[str]] = {section: Counter() for section in ("kernels", "copies", "totals")}
    for event in events:
        category, name = event.get("cat"), event["name"]
        if category in _DEVICE:
            counts[_DEVICE[category]][short_kernel_name(name) if category == "kernel" else name] += 1
        elif category in _HOST and start <= event["ts"] <= end:  # so without the synchronizations between calls
            kinds = [kind for kind, prefixes in _RUNTIME_CALLS.items() if name.startswith(prefixes)]
            counts["totals"].update(kinds)
    return {section: dict(table) for section, table in counts.items() if table}


def short_kernel_name(name: str) -> str:
    """A kernel's name with its template arguments, without what repeats them: namespaces, parameters, casts, numbers.

    What a lambda takes is kept, in brackets, as it tells the type that the kernel works on; so is its number where it
    is not the first, as x**2 and x**3 differ in nothing else.
    """
    short = name.removeprefix("void ").replace("(anonymous namespace)::", "")
    short = re.sub(r"\{lambda\(\)#\d+\}|\boperator\(\)| ?\bconst\b", "", short)
    short = re.sub(r"\b[A-Za-z_]\w*::", "", short)
    short = re.sub(r"\{lambda\(([^()]+)\)(?:#1|(#\d+))\}", r"[\1\2]", short)
    while (without := re.sub(r"\([^()]*\)", "", short)) != short:
        short = without
    short = re.sub(r"\b(\d+)[ul]+\b", r"\1", short.replace("::", ""))
    return _cut(re.sub(r"\s*([<>])\s*", r"\1", short).strip(), name)


def _cut(short: str, name: str) -> str:
    """A name no longer than LONGEST, which is still another for another kernel."""
    if len(short) <= LONGEST:
        return short
    return f"{short[: LONGEST - 10]}...{hashlib.sha256(name.encode()).hexdigest()[:7]}"
