"""Adamax's update on a GPU in one pass over memory, as a Triton kernel.

It needs triton, which a PyTorch for CUDA brings, and runs on a CPU where TRITON_INTERPRET is 1.
"""

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..errors import SettingError

BLOCK = 1024  # numbers of a program
WEIGHTS = 16  # of a launch, each a branch of the kernel


@triton.jit
def _update(  # type: ignore[no-untyped-def]  # Triton reads annotations as its own
    weights, gradients, averages, norms, sizes, taken, scale, rate, share, beta2, eps, block_size: tl.constexpr
):
    if tl.load(taken) != 0:
        for index in tl.static_range(len(weights)):
            if tl.program_id(1) == index:
                at = tl.program_id(0).to(tl.int64) * block_size + tl.arange(0, block_size)
                inside = at < sizes[index]
                gradient = tl.load(gradients[index] + at, inside) * tl.load(scale)
                average = tl.load(averages[index] + at, inside)
                norm = tl.load(norms[index] + at, inside, other=1.0) * beta2
                least = tl.abs(gradient) + eps
                average += share * (gradient - average)
                norm = tl.where(least > norm, least, norm)  # a norm that is not a number stays one
                tl.store(averages[index] + at, average, inside)
                tl.store(norms[index] + at, norm, inside)
                weight = tl.load(weights[index] + at, inside)
                tl.store(weights[index] + at, weight - tl.load(rate) * average / norm, inside)


def update_weights(
    weights: Sequence[Tensor],
    gradients: Sequence[Tensor],
    averages: Sequence[Tensor],
    norms: Sequence[Tensor],
    taken: Tensor,  # 0: nothing is updated
    scale: Tensor,  # which the gradients are multiplied by
    rate: Tensor,  # the learning rate, the average's bias corrected
    beta1: float,
    beta2: float,
    eps: float,
) -> None:
    """Update contiguous float32 weights, averages and norms in place, without waiting for the device.

    Raises SettingError for others.
    """
    if not all(x.dtype == torch.float32 and x.is_contiguous() for x in (*weights, *gradients, *averages, *norms)):
        raise SettingError('gpu_update "triton": needs contiguous float32 weights and gradients; give "foreach".')
    for start in range(0, len(weights), WEIGHTS):
        lists = [tuple(each[start : start + WEIGHTS]) for each in (weights, gradients, averages, norms)]
        sizes = tuple(weight.numel() for weight in lists[0])
        grid = triton.cdiv(max(sizes), BLOCK), len(sizes)
        if max(sizes):
            _update[grid](*lists, sizes, taken, scale, rate, 1 - beta1, beta2, eps, block_size=BLOCK)
    torch.autograd.graph.increment_version([*weights, *averages, *norms])
