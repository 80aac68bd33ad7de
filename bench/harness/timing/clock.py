"""The suite's one clock: it waits for the device before it reads the time."""

import time
from collections.abc import Callable

import torch


def synchronize(device: torch.device) -> None:
    """Wait until the device has done all that it was given."""
    if device.type != "cpu":
        torch.accelerator.synchronize()


def cpu_timer() -> float:
    """Seconds, for work that is done when its call returns."""
    return time.perf_counter()


def device_timer() -> float:
    """Seconds, read when the accelerator has finished."""
    torch.accelerator.synchronize()
    return time.perf_counter()


def undisturbed_clock(device: torch.device, threads: int | None) -> Callable[[], float]:
    """For work that waits for nothing: on one thread of a CPU the processor's time, in which no neighbour's is."""
    return time.process_time if device.type == "cpu" and threads == 1 else clock_of(device)


def clock_of(device: torch.device) -> Callable[[], float]:
    """The clock that waits for what a device does."""
    return cpu_timer if device.type == "cpu" else device_timer
