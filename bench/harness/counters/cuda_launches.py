"""Kernel launches, copies and waits of a call on a CUDA device, counted by the profiler."""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, record_function

_RUNTIME_CALLS = {
    "kernel launches": ("cudaLaunchKernel", "cuLaunchKernel"),
    "copies and fills": ("cudaMemcpy", "cudaMemset"),
    "waits": ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize"),
}
_RANGE = "counted call"
Event = tuple[str, float, float]  # name, start and end in microseconds


def count_cuda_launches(function: Callable[[], Any]) -> Counter[str]:
    """Run a warm call once under the profiler and count what it asks of the CUDA runtime."""
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        with record_function(_RANGE):
            function()
        torch.cuda.synchronize()
    events = profiler.events() or []
    return count_in_range((event.name, event.time_range.start, event.time_range.end) for event in events)


def count_in_range(events: Iterable[Event]) -> Counter[str]:
    """Count the runtime calls that start within the counted range, so without the profiler's synchronizations."""
    listed = list(events)
    start, end = next((start, end) for name, start, end in listed if name == _RANGE)
    counted = Counter(dict.fromkeys(_RUNTIME_CALLS, 0))
    for name, begin, _ in listed:
        for kind, prefixes in _RUNTIME_CALLS.items():
            counted[kind] += name.startswith(prefixes) and start <= begin <= end
    return counted
