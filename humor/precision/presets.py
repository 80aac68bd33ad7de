"""Precision presets for the network: each name stands for an autocast dtype, a gradient scaler, and the TF32 switch.

Autocast runs matrix multiplies in half. These stay in float32: the sums of group norm, which half would round; the
exponential and square root of the latents' variance, which would overflow float16; and rotations, canonical frames and
the loss, which switch autocast off because metres need more than three digits. The "-weights" presets keep weights in
half and run inside the same autocast, which finds nothing to cast in them: their numbers are those of the preset that
casts. fp8 is bf16 but for large layers, which multiply in float8 (`humor.precision.fp8`).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal

import torch
from torch import nn

from ..errors import SettingError
from .fp8 import ACTIVATIONS, Float8Layers, torchao_layer
from .half_weights import HalfWeights

PrecisionName = Literal["fp32", "tf32", "bf16", "fp16", "bf16-weights", "fp16-weights", "fp8"]


@dataclass(frozen=True)
class Preset:
    """The settings that a precision's name stands for."""

    autocast: torch.dtype | None  # None: no autocast
    scaled: bool  # gradients below float16's range need a scaler
    tf32: bool  # 10-bit mantissa in float32 multiplies
    devices: tuple[str, ...]  # whose hardware can have it
    capability: tuple[int, int] = (0, 0)  # least compute capability of a CUDA device that has it
    keep_half_weights: bool = False  # beside the float32 masters, so that no pass casts them
    float8: bool = False  # large layers multiply in float8, by torchao

    @property
    def is_float16(self) -> bool:
        """Whether matrices are multiplied in float16, which many CPUs lack."""
        return self.autocast == torch.float16


PRESETS: dict[PrecisionName, Preset] = {
    # name                  autocast        scaled  tf32   devices        capability  keep_half_weights
    "fp32":         Preset(None,            False, False, ("cpu", "cuda")),
    "tf32":         Preset(None,            False, True,  ("cuda",),        (8, 0)),
    "bf16":         Preset(torch.bfloat16,  False, False, ("cpu", "cuda"),  (8, 0)),
    "fp16":         Preset(torch.float16,   True,  False, ("cpu", "cuda")),
    "bf16-weights": Preset(torch.bfloat16,  False, False, ("cpu", "cuda"),  (8, 0),   True),
    "fp16-weights": Preset(torch.float16,   True,  False, ("cpu", "cuda"),  (0, 0),   True),
    "fp8":          Preset(torch.bfloat16,  False, False, ("cuda",),        (8, 9),   float8=True),
}  # fmt: skip


class Precision:
    """One of the presets: the study's mixed-precision recipe, on any device. Raises SettingError for another name."""

    def __init__(self, name: str) -> None:
        if name not in PRESETS:
            raise SettingError(f'precision "{name}" is not one of {", ".join(PRESETS)}.')
        self.name = name
        self.preset = PRESETS[name]

    def __repr__(self) -> str:
        return f'Precision("{self.name}")'

    @property
    def unit_roundoff(self) -> float:
        """Half the gap between 1 and the next number, in the format that matrices are multiplied in."""
        if self.preset.tf32:
            return 2.0**-11
        return torch.finfo(ACTIVATIONS if self.preset.float8 else self.preset.autocast or torch.float32).eps / 2

    def supports(self, device: torch.device | str) -> bool:
        """Whether a device has this number format (a T4 has no bfloat16, say); float8 needs torchao, too."""
        return self._device_has(torch.device(device)) and not self._lacks_torchao()

    def _device_has(self, device: torch.device) -> bool:
        if device.type != "cuda" or not torch.cuda.is_available():
            return device.type in self.preset.devices
        return torch.cuda.get_device_capability(device) >= self.preset.capability

    def _lacks_torchao(self) -> bool:
        return self.preset.float8 and find_spec("torchao") is None

    def require(self, device: torch.device) -> None:
        """Raise SettingError where a device does not have this number format."""
        if not self.supports(device):
            there = ", ".join(name for name in PRESETS if Precision(name).supports(device))
            if self._device_has(device):
                raise SettingError(
                    f"precision {self.name}: needs torchao, which is not installed; "
                    f"pip install torchao, or give one of {there}."
                )
            raise SettingError(f"precision {self.name}: not on {device.type}, which has {there}; give one.")

    @contextmanager
    def tf32_scope(self, device: torch.device | str) -> Iterator[None]:
        """Set the TF32 switch for what is inside, forward or backward, and restore it."""
        if torch.device(device).type != "cuda":  # only CUDA has the switch
            yield
            return
        before = torch.backends.cuda.matmul.allow_tf32
        torch.backends.cuda.matmul.allow_tf32 = self.preset.tf32
        try:
            yield
        finally:
            torch.backends.cuda.matmul.allow_tf32 = before

    def autocast(self, device: torch.device | str) -> torch.autocast:
        """The preset's autocast on a device, disabled where it has none."""
        half = self.preset.autocast
        return torch.autocast(torch.device(device).type, half, enabled=half is not None)

    @contextmanager
    def autocast_scope(self, device: torch.device | str) -> Iterator[None]:
        """What a forward pass runs inside: the TF32 switch and autocast. A backward pass needs `tf32_scope` alone."""
        with self.tf32_scope(device), self.autocast(device):
            yield

    def half_weights(self, network: nn.Module) -> HalfWeights:
        """The network's half weights, or its float8 layers, as the preset has them; run each pass inside `.active()`.

        Other presets get one that holds nothing. Raises SettingError where float8 is not available.
        """
        if self.preset.float8:
            self.require(next(network.parameters()).device)
            return Float8Layers(network, torchao_layer)
        return HalfWeights(network, self.preset.autocast if self.preset.keep_half_weights else None)

    def scaler(self, device: torch.device | str) -> torch.amp.GradScaler:
        """A gradient scaler for float16, and a disabled one for the rest."""
        return torch.amp.GradScaler(torch.device(device).type, enabled=self.preset.scaled)
