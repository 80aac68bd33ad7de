"""Number formats for the network: a named preset is an autocast type, a gradient scaler, and the TF32 switch."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from .errors import SettingError


@dataclass(frozen=True)
class Preset:
    """What a precision's name means."""

    autocast: torch.dtype | None  # None: no autocast
    scaled: bool  # gradients below float16's range need a scaler
    tf32: bool  # 10-bit mantissa in float32 multiplies
    devices: tuple[str, ...]  # where the hardware may have it
    capability: tuple[int, int] = (0, 0)  # of a CUDA device that has it


PRESETS = {
    # name          autocast        scaled  tf32   devices
    "fp32": Preset(None,            False, False, ("cpu", "cuda")),
    "tf32": Preset(None,            False, True,  ("cuda",), (8, 0)),
    "bf16": Preset(torch.bfloat16,  False, False, ("cpu", "cuda"), (8, 0)),
    "fp16": Preset(torch.float16,   True,  False, ("cpu", "cuda")),
}  # fmt: skip


class Precision:
    """One of fp32, tf32, bf16, fp16: the study's mixed-precision recipe, on any device.

    Raises SettingError for another name.
    """

    def __init__(self, name: str) -> None:
        if name not in PRESETS:
            raise SettingError(f'precision "{name}" is not one of {", ".join(PRESETS)}.')
        self.name = name
        self.preset = PRESETS[name]

    def __repr__(self) -> str:
        return f'Precision("{self.name}")'

    def supports(self, device: torch.device | str) -> bool:
        """Whether a device has this number format: a T4, say, has no bfloat16 of its own."""
        device = torch.device(device)
        if device.type != "cuda" or not torch.cuda.is_available():
            return device.type in self.preset.devices
        return torch.cuda.get_device_capability(device) >= self.preset.capability

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

    def scaler(self, device: torch.device | str) -> torch.amp.GradScaler:
        """A gradient scaler for float16, and one that does nothing for the rest."""
        return torch.amp.GradScaler(torch.device(device).type, enabled=self.preset.scaled)
