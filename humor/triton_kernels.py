"""What the Triton kernels share: how they are imported where they are chosen, and what they refuse."""

from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from .errors import SettingError


def import_kernels(module: str, setting: str, otherwise: str) -> Any:
    """A module of kernels beside this one. Raises SettingError, which names another choice, without triton."""
    try:
        return import_module(f".{module}", __package__)
    except ModuleNotFoundError as error:
        raise SettingError(
            f"{setting}: {error.name} is not installed; install it (a PyTorch for CUDA brings it), or give {otherwise}."
        ) from None


def require_inputs(interpreted: bool, setting: str, otherwise: str, *inputs: tuple[Tensor, tuple[int, ...]]) -> None:
    """Raise SettingError unless a kernel can read the tensors where they are and they have these shapes."""
    for x, shape in inputs:
        if x.dtype != torch.float32:
            raise SettingError(
                f"{setting}: needs float32, not {str(x.dtype).removeprefix('torch.')}; give {otherwise}."
            )
        if x.shape != shape:
            raise SettingError(f"{setting}: got a tensor {tuple(x.shape)} where the others need {shape}; correct it.")
        if x.device.type == "cpu" and not interpreted:
            raise SettingError(f"{setting}: needs a GPU, or TRITON_INTERPRET=1 before Python starts; give {otherwise}.")
