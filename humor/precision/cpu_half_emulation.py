"""Half-precision matrix multiplies on a CPU without them: done in float32 and rounded once.

Hardware with the format does the same: the product of two half numbers is exact in float32, and sums are kept in
float32. Where the CPU's libraries lack the format, PyTorch falls back to a loop that is 20 to 50 times as slow as
float32 for large batches. Times measured under emulation say nothing about half precision, so benchmarks, `humor
profile` and `humor study` do not use it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

_aten = torch.ops.aten
_MULTIPLIES = {_aten.mm, _aten.addmm, _aten.bmm, _aten.baddbmm, _aten.convolution, _aten.convolution_backward}
_SUPPORT_CHECKS = {torch.bfloat16: "_is_mkldnn_bf16_supported", torch.float16: "_is_mkldnn_fp16_supported"}


def needs_emulation(dtype: torch.dtype) -> bool:
    """Whether this CPU's libraries lack multiplies in a dtype, so that PyTorch falls back to its slow loop."""
    is_supported = getattr(torch.ops.mkldnn, _SUPPORT_CHECKS.get(dtype, ""), None)
    return is_supported is not None and not is_supported()


@contextmanager
def emulate_half_on_cpu() -> Iterator[None]:
    """Inside, multiplies in the dtypes that this CPU lacks run in float32 and are rounded, forward and backward.

    Nothing changes for dtypes that it has, for other devices, and for attention, whose products are small here.
    """
    lacking = tuple(dtype for dtype in _SUPPORT_CHECKS if needs_emulation(dtype))
    if not lacking:
        yield
        return
    with _Float32Multiplies(lacking):
        yield


class _Float32Multiplies(TorchDispatchMode):
    """Runs multiplies of some dtypes in float32 and rounds their results."""

    def __init__(self, dtypes: tuple[torch.dtype, ...]) -> None:
        super().__init__()
        self._dtypes = dtypes

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        dtype = self._emulated_dtype(args) if func.overloadpacket in _MULTIPLIES else None
        if dtype is None:
            return func(*args, **kwargs)
        exact = func(*tree_map(_widen, args), **tree_map(_widen, kwargs))
        return tree_map(lambda x: x.to(dtype) if isinstance(x, Tensor) else x, exact)

    def _emulated_dtype(self, operands: tuple) -> torch.dtype | None:
        for operand in operands:
            if isinstance(operand, Tensor) and operand.dtype in self._dtypes and operand.device.type == "cpu":
                return operand.dtype
        return None


def _widen(x: Any) -> Any:
    return x.float() if isinstance(x, Tensor) and x.is_floating_point() else x
