"""Lifting with a trained network: windows, and whole clips frame by frame."""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..errors import CheckpointError, SettingError
from ..io.checkpoints import read_checkpoint, read_weights
from ..precision.presets import Precision, PrecisionName
from .cameras import mirror
from .networks import LiftingNetwork, build_network
from .released import ENTRIES, FRAME_POSITION, FREQUENCY_POSITION

BATCH = 64  # windows at once
MOST_TOKENS = 5000  # of a network that is made for a checkpoint


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

    def lift_clip(
        self,
        points: Float[Tensor, "frames 17 2"],
        flips: bool,
        on_batch: Callable[[int], None] = lambda total: None,  # called after each of so many batches
    ) -> Float[Tensor, "frames 17 3"]:
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
            on_batch(-(-len(points) // BATCH))
        return torch.cat(parts)


def load_network(path: str | Path, frames: int | None = None) -> LiftingNetwork:
    """The network of a checkpoint, ours or a released one, in evaluation mode.

    Its sizes are those of the weights, except PoseFormerV2's number of frames, which no weight has: it is `frames`,
    else the run's, else nine times the kept frames, as in the released ones. Raises FileError and CheckpointError.
    """
    content, weights = read_checkpoint(path), read_weights(path, ENTRIES)
    settings = content.get("settings")
    trained = settings.get("frames") if isinstance(settings, Mapping) else None
    positions = [_tokens(weights, *names) for names in (FRAME_POSITION, FREQUENCY_POSITION)]
    kept, coefficients = positions
    if kept is None or max(filter(None, positions)) > MOST_TOKENS:
        raise CheckpointError(f"{path}: not the weights of PoseFormer or PoseFormerV2; give a lifting checkpoint.")
    network: LiftingNetwork
    if coefficients is None:
        network = build_network("poseformer", kept)
    else:
        seen = frames or (trained if isinstance(trained, int) and trained <= MOST_TOKENS else 9 * kept)
        network = build_network("poseformer-v2", seen, kept, coefficients)
    if frames not in (None, network.frames):
        raise SettingError(f"frames {frames}: the network of {path} sees {network.frames}; leave it out.")
    network.load_checkpoint(path)
    return network.eval()


def _tokens(weights: Mapping[str, Tensor], *names: str) -> int | None:
    """The number of tokens of the first of some position embeddings that a checkpoint has."""
    found = next((weights[name] for name in names if name in weights), None)
    return found.shape[1] if found is not None and found.ndim == 3 else None
