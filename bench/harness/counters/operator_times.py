"""The time of a call by what its operators do: multiply in a number format, cast, or anything else."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from .operators import multiply_format, tensors_among

_aten = torch.ops.aten
_CASTS = {_aten._to_copy, _aten.copy_, _aten._foreach_copy_}
RUNS = 3
Call = Callable[[], Any]
OperatorTimes = dict[str, float]  # seconds by format of a multiply, "casts" and "rest"


class OperatorTimer(TorchDispatchMode):
    """Times each operator that is dispatched within it; `clock` waits for the device after each."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__()
        self.clock = clock
        self.seconds: OperatorTimes = defaultdict(float)

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        start = self.clock()
        result = func(*args, **kwargs)
        seconds = self.clock() - start
        self.seconds[_category(func, tensors_among([*args, *kwargs.values()]), tensors_among([result]))] += seconds
        return result


def time_operators(calls: Sequence[Call], clock: Callable[[], float]) -> list[OperatorTimes]:
    """Time the operators of several calls in alternation; return those of each call's fastest run."""
    runs: list[list[OperatorTimes]] = [[] for _ in calls]
    for _ in range(RUNS):
        for call, runs_of_call in zip(calls, runs, strict=True):
            with OperatorTimer(clock) as timer:
                call()
            runs_of_call.append(timer.seconds)
    return [min(runs_of_call, key=lambda run: sum(run.values())) for runs_of_call in runs]


def _category(func: Any, inputs: Sequence[Tensor], results: Sequence[Tensor]) -> str:
    if func.overloadpacket in flop_registry:
        return multiply_format(inputs)
    casts = func.overloadpacket in _CASTS and len({tensor.dtype for tensor in (*inputs, *results)}) > 1
    return "casts" if casts else "rest"
