"""Two networks that lift a person's 2D joints over time to the 3D joints of the middle frame.

Both are transformers: joints attend to each other within a frame, then frames attend to each other. PoseFormer (Zheng
et al., ICCV 2021) has a token for each frame. PoseFormerV2 (Zhao et al., CVPR 2023) has one for each of the few frames
in the middle and for each of the first cosine coefficients of the whole sequence, so that its cost does not grow with
the sequence.
"""

from functools import partial
from math import pi
from pathlib import Path
from typing import Literal, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from ..errors import SettingError
from .released import load_weights

JOINTS, WIDTH = 17, 32  # width: of a joint's token; a frame's token concatenates those of its joints
DEPTH, HEADS = 4, 8
_FRAME_WIDTH = JOINTS * WIDTH
_norm = partial(nn.LayerNorm, eps=1e-6)


def dct_matrix(coefficients: int, frames: int) -> Float[Tensor, "coefficients frames"]:
    """The first rows of the cosine transform (DCT-II) of so many frames, not normalised.

    X_k = 2 sum_n x_n cos(pi k (2 n + 1) / 2 N).
    """
    places = torch.arange(frames, dtype=torch.float64)
    return (2 * torch.cos(pi / frames * places[:coefficients, None] * (places + 0.5))).float()


def inverse_dct_matrix(frames: int) -> Float[Tensor, "frames frames"]:
    """The inverse of all rows of `dct_matrix`."""
    weights = torch.full((frames,), 1 / (2 * frames))
    weights[0] /= 2
    return dct_matrix(frames, frames).mT * weights


class DropPath(nn.Module):
    """While training, sets the whole output of a residual branch to zero for some sequences (stochastic depth).

    Source: Huang et al. 2016. The others are scaled so that the mean stays.
    """

    rate = 0.0

    def forward(self, change: Float[Tensor, "B N W"]) -> Float[Tensor, "B N W"]:
        if not (self.training and self.rate):
            return change
        kept = torch.rand(len(change), 1, 1, device=change.device) >= self.rate
        return change * kept / (1 - self.rate)


class Attention(nn.Module):
    """Each token attends to all of its sequence, with eight heads."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.queries_keys_values, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, tokens: Float[Tensor, "B N W"]) -> Float[Tensor, "B N W"]:
        split = self.queries_keys_values(tokens).unflatten(-1, (3, HEADS, -1))
        queries, keys, values = split.permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(queries, keys, values)
        return self.out(mixed.transpose(1, 2).flatten(2))


class TransformerBlock(nn.Module):
    """A transformer layer: attention, then two linear layers for each token, both residual."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attention_norm, self.attention = _norm(width), Attention(width)
        self.mlp_norm, self.mlp = _norm(width), _mlp(width)
        self.drop_path = DropPath()

    def forward(self, tokens: Float[Tensor, "B N W"]) -> Float[Tensor, "B N W"]:
        tokens = tokens + self.drop_path(self.attention(self.attention_norm(tokens)))
        return tokens + self.drop_path(self.mlp(self.mlp_norm(tokens)))


class MixedTransformerBlock(TransformerBlock):
    """A layer over coefficients and frames: all attend to all; the second half passes linear layers as frequencies.

    The coefficients come first. As published, the halves are those of all tokens, whatever their numbers.
    """

    def __init__(self, width: int, tokens: int) -> None:
        super().__init__(width)
        self.frequency_norm, self.frequency_mlp = _norm(width), _mlp(width)
        self.sizes = (tokens // 2, tokens - tokens // 2)
        self.dct: Tensor
        self.inverse_dct: Tensor
        self.register_buffer("dct", dct_matrix(self.sizes[1], self.sizes[1]), persistent=False)
        self.register_buffer("inverse_dct", inverse_dct_matrix(self.sizes[1]), persistent=False)

    def forward(self, tokens: Float[Tensor, "B N W"]) -> Float[Tensor, "B N W"]:
        tokens = tokens + self.drop_path(self.attention(self.attention_norm(tokens)))
        first, second = tokens.split(self.sizes, 1)
        first = first + self.drop_path(self.mlp(self.mlp_norm(first)))
        spectrum = self.frequency_mlp(self.dct @ self.frequency_norm(second))
        second = second + self.drop_path(self.inverse_dct @ spectrum)
        return torch.cat([first, second], 1)


class SpatialEncoder(nn.Module):
    """A transformer over the joints of each frame. Returns one token a frame."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Linear(2, WIDTH)
        self.position = nn.Parameter(torch.zeros(1, JOINTS, WIDTH))
        self.blocks = nn.Sequential(*(TransformerBlock(WIDTH) for _ in range(DEPTH)))
        self.norm = _norm(WIDTH)

    def forward(self, points: Float[Tensor, "B T 17 2"]) -> Float[Tensor, "B T 544"]:
        tokens = self.embedding(points.flatten(0, 1)) + self.position
        return self.norm(self.blocks(tokens)).reshape(*points.shape[:2], _FRAME_WIDTH)


class LiftingNetwork(nn.Module):
    """What the two have in common: two stacks of layers, the spatial one first."""

    frames: int  # that the network sees at once
    temporal: nn.Sequential

    def __init__(self) -> None:
        super().__init__()
        self.spatial = SpatialEncoder()

    def set_drop_path(self, rate: float) -> None:
        """Let stochastic depth rise over the layers of each stack, from 0 to this rate."""
        for blocks in (self.spatial.blocks, self.temporal):
            for depth, block in enumerate(blocks):
                cast(TransformerBlock, block).drop_path.rate = rate * depth / (DEPTH - 1)

    def load_checkpoint(self, path: str | Path) -> None:
        """Load the weights of a checkpoint, a run's or a released one; no code in the file is run.

        Raises FileError for a missing file, and CheckpointError for one that is damaged or does not fit, naming the
        first parameters that are missing, unexpected, or of another shape; then nothing is loaded.
        """
        load_weights(self, path)


class PoseFormer(LiftingNetwork):
    """A transformer over frames; a weighted mean of its tokens predicts the middle frame."""

    def __init__(self, frames: int = 81) -> None:
        super().__init__()
        self.frames = frames
        self.frame_position = nn.Parameter(torch.zeros(1, frames, _FRAME_WIDTH))
        self.temporal = nn.Sequential(*(TransformerBlock(_FRAME_WIDTH) for _ in range(DEPTH)))
        self.temporal_norm = _norm(_FRAME_WIDTH)
        self.mean = nn.Conv1d(frames, 1, 1)
        self.head = _head(_FRAME_WIDTH)

    def forward(self, points: Float[Tensor, "B T 17 2"]) -> Float[Tensor, "B 17 3"]:
        """Lift points in halves of the image's width to metres from the root in camera coordinates."""
        tokens = self.temporal_norm(self.temporal(self.spatial(points) + self.frame_position))
        return self.head(self.mean(tokens).flatten(1)).unflatten(-1, (JOINTS, 3))


class PoseFormerV2(LiftingNetwork):
    """A transformer over the middle frames and the first frequencies of all; weighted means predict the middle."""

    def __init__(self, frames: int = 243, kept_frames: int = 27, coefficients: int = 27) -> None:
        super().__init__()
        if frames < max(kept_frames, coefficients):
            raise SettingError(
                f"frames {frames}: PoseFormerV2 keeps {kept_frames} of them and {coefficients} coefficients; give more."
            )
        self.frames, self.sizes = frames, (coefficients, kept_frames)
        self.frequency_embedding = nn.Linear(2 * JOINTS, _FRAME_WIDTH)
        self.frequency_position = nn.Parameter(torch.zeros(1, coefficients, _FRAME_WIDTH))
        self.frame_position = nn.Parameter(torch.zeros(1, kept_frames, _FRAME_WIDTH))
        self.temporal = nn.Sequential(*(MixedTransformerBlock(_FRAME_WIDTH, sum(self.sizes)) for _ in range(DEPTH)))
        self.temporal_norm = _norm(_FRAME_WIDTH)
        self.frequency_mean, self.frame_mean = (nn.Conv1d(size, 1, 1) for size in self.sizes)
        self.head = _head(2 * _FRAME_WIDTH)
        self.dct: Tensor
        self.register_buffer("dct", dct_matrix(coefficients, frames), persistent=False)

    def forward(self, points: Float[Tensor, "B T 17 2"]) -> Float[Tensor, "B 17 3"]:
        """Lift points in halves of the image's width to metres from the root in camera coordinates."""
        with torch.autocast(points.device.type, enabled=False):  # half would round every frequency
            spectrum = self.dct @ points.flatten(2)
        first = (points.shape[1] - self.sizes[1]) // 2
        frames = self.spatial(points[:, first : first + self.sizes[1]]) + self.frame_position
        coefficients = self.frequency_embedding(spectrum) + self.frequency_position
        tokens = self.temporal_norm(self.temporal(torch.cat([coefficients, frames], 1)))
        low, middle = tokens.split(self.sizes, 1)
        means = torch.cat([self.frequency_mean(low), self.frame_mean(middle)], -1)
        return self.head(means.flatten(1)).unflatten(-1, (JOINTS, 3))


LiftingName = Literal["poseformer", "poseformer-v2"]
NETWORKS: dict[LiftingName, type[PoseFormer] | type[PoseFormerV2]] = {
    "poseformer": PoseFormer,
    "poseformer-v2": PoseFormerV2,
}


def build_network(
    name: LiftingName, frames: int, kept_frames: int | None = None, coefficients: int | None = None
) -> PoseFormer | PoseFormerV2:
    """Make a network; of PoseFormerV2, by default, with the released shares: (27, 3, 3), (81, 9, 9), (243, 27, 27).

    Raises SettingError for sizes that no network has.
    """
    sizes = {"frames": frames, "kept_frames": kept_frames, "coefficients": coefficients}
    for size, number in sizes.items():
        if number is not None and number < 1:
            raise SettingError(f"{size} {number}: expected a whole number from 1.")
    if name == "poseformer-v2":
        ninth = max(1, frames // 9)
        return PoseFormerV2(frames, kept_frames or ninth, coefficients or ninth)
    for size in ("kept_frames", "coefficients"):
        if sizes[size] is not None:
            raise SettingError(f"{size} {sizes[size]}: not for {name}; leave it out.")
    return PoseFormer(frames)


def _mlp(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))


def _head(width: int) -> nn.Sequential:
    return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 3 * JOINTS))
