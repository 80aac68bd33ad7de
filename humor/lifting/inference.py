"""Lifting with a trained network: windows, and whole clips frame by frame."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..precision.presets import Precision, PrecisionName
from .cameras import mirror
from .networks import LiftingNetwork

BATCH = 64  # windows at once


@torch.no_grad()
def lift(network: nn.Module, points: Float[Tensor, "B T 17 2"], flips: bool) -> Float[Tensor, "B 17 3"]:
    """Lift windows; with flips, to the mean of what the network sees in them and in the mirrored ones."""
    lifted: Tensor = network(points)
    return (lifted + mirror(network(mirror(points)))) / 2 if flips else lifted


class Lifter:
    """A network in a precision, on a device, that lifts clips of any length."""

    def __init__(self, network: LiftingNetwork, precision: PrecisionName, device: torch.device) -> None:
        self.network, self.device = network.to(device).eval(), device
        self.precision = Precision(precision)
        self.precision.require(device)
        self._half_weights = self.precision.half_weights(network)

    def lift_clip(self, points: Float[Tensor, "frames 17 2"], flips: bool) -> Float[Tensor, "frames 17 3"]:
        """Lift every frame of a clip from the frames around it; those at its ends stand for the ones beyond.

        Points are in halves of the image's width; joints in metres from the root, in camera coordinates.
        """
        around = torch.arange(self.network.frames) - self.network.frames // 2
        parts = []
        for first in range(0, len(points), BATCH):
            middle = torch.arange(first, min(first + BATCH, len(points)))
            windows = points[(middle[:, None] + around).clamp(0, len(points) - 1)].to(self.device)
            with self.precision.autocast_scope(self.device), self._half_weights.active():
                parts.append(lift(self.network, windows, flips).float().cpu())
        return torch.cat(parts)
