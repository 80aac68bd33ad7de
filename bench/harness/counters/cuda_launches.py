"""What a call makes a CUDA device do, as the profiler sees it."""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, record_function

_KINDS = {
    "kernel launches": ("cudaLaunchKernel", "cuLaunchKernel"),
    "copies and fills": ("cudaMemcpy", "cudaMemset"),
    "waits": ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize"),
}
_RANGE = "the call that is counted"
Event = tuple[str, float, float]  # name, start and end in microseconds


def count_launches(function: Callable[[], Any]) -> Counter[str]:
    """Run a warm call once under the profiler."""
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        with record_function(_RANGE):
            function()
        torch.cuda.synchronize()
    events = profiler.events() or []
    return launches((event.name, event.time_range.start, event.time_range.end) for event in events)


def launches(events: Iterable[Event]) -> Counter[str]:
    """How many calls of each kind started within the range; the profiler's own waits stand outside it."""
    known = list(events)
    start, end = next((start, end) for name, start, end in known if name == _RANGE)
    counted = Counter(dict.fromkeys(_KINDS, 0))
    for name, begin, _ in known:
        for kind, names in _KINDS.items():
            counted[kind] += name.startswith(names) and start <= begin <= end
    return counted
