"""Half precision on a CPU that lacks it: products of the same half numbers, summed in float32 and rounded once.

That is what hardware with the format does: two half numbers multiply exactly in float32, which is also what sums are
kept in. PyTorch does the same in a loop of its own where the CPU's libraries lack the format: of many rows, twenty to
fifty times as slowly as float32. A time taken inside says nothing about half precision, so benchmarks, `humor profile`
and `humor study` stay out.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

_aten = torch.ops.aten
_PRODUCTS = {_aten.mm, _aten.addmm, _aten.bmm, _aten.baddbmm, _aten.convolution, _aten.convolution_backward}
_ASKED = {torch.bfloat16: "_is_mkldnn_bf16_supported", torch.float16: "_is_mkldnn_fp16_supported"}


def emulated(kind: torch.dtype) -> bool:
    """Whether PyTorch multiplies matrices of this format without its libraries on this CPU."""
    asked = getattr(torch.ops.mkldnn, _ASKED.get(kind, ""), None)
    return asked is not None and not asked()


@contextmanager
def half_products() -> Iterator[None]:
    """Inside, products in the formats that this CPU lacks are taken in float32 and rounded, forward and backward.

    Nothing changes for formats that it has, for other devices, and for attention, whose products are small here.
    """
    lacking = tuple(kind for kind in _ASKED if emulated(kind))
    if not lacking:
        yield
        return
    with _Float32Products(lacking):
        yield


class _Float32Products(TorchDispatchMode):
    """Takes products of some formats in float32."""

    def __init__(self, kinds: tuple[torch.dtype, ...]) -> None:
        super().__init__()
        self._kinds = kinds

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        kind = self._format_of(args) if func.overloadpacket in _PRODUCTS else None
        if kind is None:
            return func(*args, **kwargs)
        exact = func(*tree_map(_widened, args), **tree_map(_widened, kwargs))
        return tree_map(lambda x: x.to(kind) if isinstance(x, Tensor) else x, exact)

    def _format_of(self, factors: tuple) -> torch.dtype | None:
        for each in factors:
            if isinstance(each, Tensor) and each.dtype in self._kinds and each.device.type == "cpu":
                return each.dtype
        return None


def _widened(x: Any) -> Any:
    return x.float() if isinstance(x, Tensor) and x.is_floating_point() else x
