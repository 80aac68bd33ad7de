"""Adamax's update of a list of weights, and the check of gradients before it, as operators that pass over memory once.

Float32 weights on a CPU are checked and updated by `adamax.c`, which is compiled when a process first needs it. That
takes 0.1 s, saved again in some ten steps of the motion model, so that nothing is kept for the next process. All else
is updated by PyTorch's operators, which give the same numbers to the last few bits.
"""

import ctypes
import logging
import os
import shlex
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm

from ..skinning import NAMESPACE

SOURCE = Path(__file__).with_name("adamax.c")
FLAGS = ("-O3", "-march=native", "-ffp-contract=off", "-fopenmp", "-shared", "-fPIC")


def update_weights(
    weights: Sequence[Tensor],
    gradients: Sequence[Tensor],  # finite, of the weights' shapes
    averages: Sequence[Tensor],  # of gradients
    norms: Sequence[Tensor],  # the largest gradients, decaying
    rates: Sequence[float],  # the learning rate of each weight, its average's bias corrected
    beta1: float,
    beta2: float,
    eps: float,
    scale: float,  # which the gradients are multiplied by
) -> None:
    """Update weights, averages and norms in place. Source: Kingma and Ba 2015, algorithm 2."""
    lists = (weights, gradients, averages, norms)
    library = compiled_library() if all(map(_is_plain_float32, lists)) else None
    if library is None:
        return _update_by_operators(weights, gradients, averages, norms, rates, beta1, beta2, eps, scale)
    numbers = [ctypes.c_float(number) for number in (1 - beta1, beta2, eps, scale)]
    c_rates = (ctypes.c_double * len(rates))(*rates)
    library.adamax(*_sizes(weights), *map(_addresses, lists), c_rates, *numbers, torch.get_num_threads())


def all_finite(gradients: Sequence[Tensor]) -> Tensor:
    """Whether every number is finite, as a tensor on the CPU."""
    library = compiled_library() if _is_plain_float32(gradients) else None
    if library is not None:
        found = bool(library.all_finite(*_sizes(gradients), _addresses(gradients), torch.get_num_threads()))
    else:  # a norm is the fastest check, but overflows before the gradients do
        found = bool(get_total_norm(gradients).isfinite()) or all(bool(x.isfinite().all()) for x in gradients)
    return torch.tensor(found)


def _sizes(tensors: Sequence[Tensor]) -> tuple[Any, Any]:
    return ctypes.c_int64(len(tensors)), (ctypes.c_int64 * len(tensors))(*(tensor.numel() for tensor in tensors))


def _addresses(tensors: Sequence[Tensor]) -> Any:
    return (ctypes.c_void_p * len(tensors))(*(tensor.data_ptr() for tensor in tensors))


def _is_plain_float32(tensors: Sequence[Tensor]) -> bool:
    return all(
        tensor.dtype == torch.float32 and tensor.device.type == "cpu" and tensor.is_contiguous() for tensor in tensors
    )


def _update_by_operators(
    weights: Sequence[Tensor],
    gradients: Sequence[Tensor],
    averages: Sequence[Tensor],
    norms: Sequence[Tensor],
    rates: Sequence[float],
    beta1: float,
    beta2: float,
    eps: float,
    scale: float,
) -> None:
    """One weight after the other, which is fastest on a CPU."""
    for weight, gradient, average, norm, rate in zip(weights, gradients, averages, norms, rates, strict=True):
        scaled = gradient if scale == 1 else gradient * scale
        average.lerp_(scaled, 1 - beta1)
        torch.maximum(norm.mul_(beta2), scaled.abs().add_(eps), out=norm)
        weight.addcdiv_(average, norm, value=-rate)


# Custom operators, so that what counts operators and bytes sees the same on every machine, and so that PyTorch knows
# that the weights were written to.
update_operator = torch.library.custom_op(
    f"{NAMESPACE}::adamax",
    update_weights,
    mutates_args=("weights", "averages", "norms"),
    schema="(Tensor(a!)[] weights, Tensor[] gradients, Tensor(b!)[] averages, Tensor(c!)[] norms, float[] rates,"
    " float beta1, float beta2, float eps, float scale) -> ()",
)


finite_operator = torch.library.custom_op(
    f"{NAMESPACE}::all_finite", all_finite, mutates_args=(), schema="(Tensor[] gradients) -> Tensor"
)


@finite_operator.register_fake
def _fake_all_finite(gradients: Sequence[Tensor]) -> Tensor:
    return torch.empty((), dtype=torch.bool)


@cache
def compiled_library() -> Any | None:
    """The functions of adamax.c, compiled for this processor; None, and a warning, where that is not possible."""
    compiler = os.environ.get("CC") or "cc"
    try:
        with tempfile.TemporaryDirectory() as folder:
            library = Path(folder, "adamax.so")
            command = [*shlex.split(compiler), *FLAGS, str(SOURCE), "-o", str(library), "-lm"]
            compilation = subprocess.run(command, capture_output=True, text=True)
            if compilation.returncode == 0:
                return ctypes.CDLL(str(library))
            problem = compilation.stderr.strip().partition("\n")[0] or f"exit status {compilation.returncode}"
    except (OSError, ValueError) as error:  # no such compiler, or a folder from which nothing may be run
        problem = str(error)
    logging.getLogger(__name__).warning(
        "Adamax takes about twice the time on this CPU: %s did not compile its update (%s). Install gcc, or name a C"
        " compiler with OpenMP in the variable CC.",
        compiler,
        problem,
    )
    return None
