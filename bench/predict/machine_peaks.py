"""The numbers that a prediction needs of the CPU it runs on, measured there."""

from collections.abc import Callable
from statistics import median

import torch

from ..harness.timing.clock import cpu_timer
from .cost_model import Machine

SIDE = 512  # of the matrices that are multiplied
COPY_BYTES = 64 << 20  # more than a cache holds
CALLS = 1000
FORMATS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def measure_this_machine() -> Machine:
    """This machine by a large multiply in each number format, a copy past the caches, a view and a tiny negation."""
    source, target = torch.ones(COPY_BYTES, dtype=torch.uint8), torch.zeros(COPY_BYTES, dtype=torch.uint8)
    one = torch.ones(1)
    return Machine(
        {name: 2 * SIDE**3 / _seconds(_multiply(dtype)) for name, dtype in FORMATS.items()},
        2 * COPY_BYTES / _seconds(lambda: target.copy_(source)),
        _seconds(lambda: _repeat(one.detach)) / CALLS,
        _seconds(lambda: _repeat(one.neg)) / CALLS,
    )


def _multiply(dtype: torch.dtype) -> Callable[[], object]:
    matrix = torch.ones(SIDE, SIDE, dtype=dtype)
    return lambda: matrix @ matrix


def _repeat(call: Callable[[], object]) -> None:
    for _ in range(CALLS):
        call()


def _seconds(call: Callable[[], object], rounds: int = 7) -> float:
    """The median time of a warm call."""
    call()
    times = []
    for _ in range(rounds):
        start = cpu_timer()
        call()
        times.append(cpu_timer() - start)
    return median(times)
