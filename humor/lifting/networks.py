"""Two networks that lift a person's 2D joints over time to the 3D joints of the middle frame.

Both are transformers: joints attend to each other within a frame, then frames attend to each other. PoseFormer (Zheng
et al., ICCV 2021) has a token for each frame. PoseFormerV2 (Zhao et al., CVPR 2023) has one for each of the few frames
in the middle and for each of the first cosine coefficients of the whole sequence, so that its cost does not grow with
the sequence. The papers' stochastic depth is left out.
"""

from functools import partial
from math import pi, sqrt

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from ..errors import SettingError

JOINTS, WIDTH = 17, 32  # width: of a joint's token; a frame's token concatenates those of its joints
DEPTH, HEADS = 4, 8
_FRAME_WIDTH = JOINTS * WIDTH
_norm = partial(nn.LayerNorm, eps=1e-6)


def dct_matrix(coefficients: int, frames: int) -> Float[Tensor, "coefficients frames"]:
    """The first rows of the orthonormal cosine transform (DCT-II) of so many frames."""
    places = torch.arange(frames, dtype=torch.float64)
    matrix = sqrt(2 / frames) * torch.cos(pi / frames * places[:coefficients, None] * (places + 0.5))
    matrix[0] /= sqrt(2)
    return matrix.float()


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

    def forward(self, tokens: Float[Tensor, "B N W"]) -> Float[Tensor, "B N W"]:
        tokens = tokens + self.attention(self.attention_norm(tokens))
        return tokens + self.mlp(self.mlp_norm(tokens))


class MixedTransformerBlock(TransformerBlock):
    """A layer over coefficients and frames: all attend to all; frames pass the linear layers as frequencies."""

    def __init__(self, width: int, coefficients: int, frames: int) -> None:
        super().__init__(width)
        self.frame_norm, self.frequency_mlp = _norm(width), _mlp(width)
        self.sizes = (coefficients, frames)
        self.dct: Tensor
        self.register_buffer("dct", dct_matrix(frames, frames), persistent=False)

    def forward(self, tokens: Float[Tensor, "B N W"]) -> Float[Tensor, "B N W"]:
        tokens = tokens + self.attention(self.attention_norm(tokens))
        coefficients, frames = tokens.split(self.sizes, 1)
        coefficients = coefficients + self.mlp(self.mlp_norm(coefficients))
        frames = frames + self.dct.mT @ self.frequency_mlp(self.dct @ self.frame_norm(frames))
        return torch.cat([coefficients, frames], 1)


class SpatialEncoder(nn.Module):
    """A transformer over the joints of each frame. Returns one token a frame."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Linear(2, WIDTH)
        self.position = nn.Parameter(torch.zeros(JOINTS, WIDTH))
        self.blocks = nn.Sequential(*(TransformerBlock(WIDTH) for _ in range(DEPTH)), _norm(WIDTH))

    def forward(self, points: Float[Tensor, "B T 17 2"]) -> Float[Tensor, "B T 544"]:
        tokens = self.embedding(points.flatten(0, 1)) + self.position
        return self.blocks(tokens).reshape(*points.shape[:2], _FRAME_WIDTH)


class PoseFormer(nn.Module):
    """A transformer over frames; a weighted mean of its tokens predicts the middle frame."""

    def __init__(self, frames: int = 81) -> None:
        super().__init__()
        self.spatial = SpatialEncoder()
        self.position = nn.Parameter(torch.zeros(frames, _FRAME_WIDTH))
        self.temporal = nn.Sequential(*(TransformerBlock(_FRAME_WIDTH) for _ in range(DEPTH)), _norm(_FRAME_WIDTH))
        self.mean = nn.Conv1d(frames, 1, 1)
        self.head = _head(_FRAME_WIDTH)

    def forward(self, points: Float[Tensor, "B T 17 2"]) -> Float[Tensor, "B 17 3"]:
        """Lift points in halves of the image's width to metres from the root in camera coordinates."""
        return self.head(self.mean(self.temporal(self.spatial(points) + self.position)))


class PoseFormerV2(nn.Module):
    """A transformer over the middle frames and the first frequencies of all; weighted means predict the middle."""

    def __init__(self, frames: int = 243, kept_frames: int = 27, coefficients: int = 27) -> None:
        super().__init__()
        if frames < max(kept_frames, coefficients):
            raise SettingError(
                f"frames {frames}: PoseFormerV2 keeps {kept_frames} of them and {coefficients} coefficients; give more."
            )
        self.sizes = (coefficients, kept_frames)
        self.spatial = SpatialEncoder()
        self.frequency_embedding = nn.Linear(2 * JOINTS, _FRAME_WIDTH)
        self.position = nn.Parameter(torch.zeros(coefficients + kept_frames, _FRAME_WIDTH))
        self.temporal = nn.Sequential(
            *(MixedTransformerBlock(_FRAME_WIDTH, *self.sizes) for _ in range(DEPTH)), _norm(_FRAME_WIDTH)
        )
        self.means = nn.ModuleList(nn.Conv1d(size, 1, 1) for size in self.sizes)
        self.head = _head(2 * _FRAME_WIDTH)
        self.dct: Tensor
        self.register_buffer("dct", dct_matrix(coefficients, frames), persistent=False)

    def forward(self, points: Float[Tensor, "B T 17 2"]) -> Float[Tensor, "B 17 3"]:
        """Lift points in halves of the image's width to metres from the root in camera coordinates."""
        with torch.autocast(points.device.type, enabled=False):  # half would round every frequency
            spectrum = self.dct @ points.flatten(2)
        first = (points.shape[1] - self.sizes[1]) // 2
        frames = self.spatial(points[:, first : first + self.sizes[1]])
        coefficients = self.frequency_embedding(spectrum)
        tokens = self.temporal(torch.cat([coefficients, frames], 1) + self.position).split(self.sizes, 1)
        means = [mean(each) for mean, each in zip(self.means, tokens, strict=True)]
        return self.head(torch.cat(means, -1))


NETWORKS = {"poseformer": PoseFormer, "poseformer-v2": PoseFormerV2}


def _mlp(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))


def _head(width: int) -> nn.Sequential:
    layers = nn.Flatten(), nn.LayerNorm(width), nn.Linear(width, 3 * JOINTS), nn.Unflatten(-1, (JOINTS, 3))
    return nn.Sequential(*layers)
