"""The work that a call asks for, counted as it is dispatched: the same numbers on every machine."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True)
class Work:
    """What one call does, forward and backward."""

    flops: int  # of matrix multiplies, a multiply-add counted as two
    bytes: int  # read and written by operators that compute, views left out
    operators: int


# They look as if they computed: the first only tells a shape, the others only take memory.
_FREE = {torch.ops.aten._unsafe_view, torch.ops.aten.empty, torch.ops.aten.empty_like, torch.ops.aten.empty_strided}


class _ByteCounter(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0
        self.operators = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not func.is_view and func.overloadpacket not in _FREE:
            tensors = [x for x in tree_leaves((args, kwargs, result)) if isinstance(x, torch.Tensor)]
            self.bytes += sum(x.numel() * x.element_size() for x in tensors)
            self.operators += 1
        return result


def count_work(function: Callable[[], Any]) -> Work:
    """Run a call once and count what it does."""
    with FlopCounterMode(display=False) as flops, _ByteCounter() as counted:
        function()
    return Work(flops.get_total_flops(), counted.bytes, counted.operators)
