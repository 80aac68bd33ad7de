"""The clocks that all times are read from: where there is a device, they wait for it first."""

import time
from collections.abc import Callable

import torch


def synchronize(device: torch.device) -> None:
    """Wait until the device has finished all queued work."""
    if device.type != "cpu":
        torch.accelerator.synchronize()


def cpu_timer() -> float:
    """Wall time in seconds, for work that is done when its call returns."""
    return time.perf_counter()


def device_timer() -> float:
    """Wall time in seconds, read when the accelerator has finished all queued work."""
    torch.accelerator.synchronize()
    return time.perf_counter()


def wall_clock(device: torch.device) -> Callable[[], float]:
    """The wall-time clock for work on a device."""
    return cpu_timer if device.type == "cpu" else device_timer


def cpu_time_clock(device: torch.device, threads: int | None) -> Callable[[], float]:
    """CPU time, which excludes other processes, for work on one CPU thread that never waits; else `wall_clock`."""
    return time.process_time if device.type == "cpu" and threads == 1 else wall_clock(device)
