"""Number formats for the network: a named preset is an autocast type, a gradient scaler, and the TF32 switch.

Autocast multiplies matrices in half. In float32 stay the sums of group norm, which half would round; the exponential
and square root of the latents' variance, which would overflow float16; and, by their own doing, rotations, canonical
frames and the loss, where metres need more than three digits. The presets that keep weights in half run inside the same
autocast, which finds nothing to cast in them: their numbers are those of the preset that casts. Float8 is bfloat16 but
for large layers, which multiply in float8 (`humor.precision.fp8`).
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
from .half_weights import WeightCopies

PrecisionName = Literal["fp32", "tf32", "bf16", "fp16", "bf16-weights", "fp16-weights", "fp8"]


@dataclass(frozen=True)
class Preset:
    """What a precision's name means."""

    autocast: torch.dtype | None  # None: no autocast
    scaled: bool  # gradients below float16's range need a scaler
    tf32: bool  # 10-bit mantissa in float32 multiplies
    devices: tuple[str, ...]  # where the hardware may have it
    capability: tuple[int, int] = (0, 0)  # of a CUDA device that has it
    kept: bool = False  # weights are kept in half beside their float32 masters, not cast for every pass
    float8: bool = False  # large layers multiply in float8, by torchao


PRESETS: dict[PrecisionName, Preset] = {
    # name                  autocast        scaled  tf32   devices        capability  kept
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
    def unit(self) -> float:
        """Half the gap between neighbours near 1, of the format that matrices are multiplied in."""
        if self.preset.tf32:
            return 2.0**-11
        return torch.finfo(ACTIVATIONS if self.preset.float8 else self.preset.autocast or torch.float32).eps / 2

    def supports(self, device: torch.device | str) -> bool:
        """Whether a device has this number format: a T4, say, has no bfloat16 of its own. Float8 needs torchao, too."""
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
    def multiplies(self, device: torch.device | str) -> Iterator[None]:
        """Set the TF32 switch for what is inside, forward or backward, and put it back."""
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
        """Run the forward pass inside it: multiplies in half where the preset says so."""
        half = self.preset.autocast
        return torch.autocast(torch.device(device).type, half, enabled=half is not None)

    @contextmanager
    def forward(self, device: torch.device | str) -> Iterator[None]:
        """Both of them: what a forward pass runs inside."""
        with self.multiplies(device), self.autocast(device):
            yield

    def copies(self, network: nn.Module) -> WeightCopies:
        """The network's weights in half where the preset keeps them so, else no copies; lend them to each pass.

        Where the preset multiplies in float8, it is that which is lent. Raises SettingError where it cannot be.
        """
        if self.preset.float8:
            self.require(next(network.parameters()).device)
            return Float8Layers(network, torchao_layer)
        return WeightCopies(network, self.preset.autocast if self.preset.kept else None)

    def scaler(self, device: torch.device | str) -> torch.amp.GradScaler:
        """A gradient scaler for float16, and one that does nothing for the rest."""
        return torch.amp.GradScaler(torch.device(device).type, enabled=self.preset.scaled)
