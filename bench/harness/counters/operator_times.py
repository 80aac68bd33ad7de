"""Where a call's time goes, by what its operators do: multiply in one format or another, cast, or all else."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from .operators import multiplied_in, tensors_of

_aten = torch.ops.aten
_CASTING = {_aten._to_copy, _aten.copy_, _aten._foreach_copy_}
RUNS = 3
Call = Callable[[], Any]
Spent = dict[str, float]  # seconds by format of a multiply, and "casts" and "rest"


class OperatorClock(TorchDispatchMode):
    """Times what is dispatched inside it, one operator after the other: a device is waited for after each."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__()
        self.clock = clock
        self.seconds: Spent = defaultdict(float)

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        start = self.clock()
        result = func(*args, **kwargs)
        taken = self.clock() - start
        self.seconds[_kind(func, tensors_of([*args, *kwargs.values()]), tensors_of([result]))] += taken
        return result


def spent_in_turns(calls: Sequence[Call], clock: Callable[[], float]) -> list[Spent]:
    """What each of some calls spends its time on, each in its fastest of a few runs, taken in turns."""
    runs: list[list[Spent]] = [[] for _ in calls]
    for _ in range(RUNS):
        for call, own in zip(calls, runs, strict=True):
            with OperatorClock(clock) as timed:
                call()
            own.append(timed.seconds)
    return [min(own, key=lambda run: sum(run.values())) for own in runs]


def _kind(func: Any, given: Sequence[Tensor], made: Sequence[Tensor]) -> str:
    if func.overloadpacket in flop_registry:
        return multiplied_in(given)
    casting = func.overloadpacket in _CASTING and len({tensor.dtype for tensor in (*given, *made)}) > 1
    return "casts" if casting else "rest"
