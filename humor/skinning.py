"""Linear blend skinning in blocks of vertices: each stays in the cache from its multiply to its last use.

A row is a body in a pose. What it needs is `features` (1, betas, and each rotation's elements minus identity, root left
out), which the surface's directions turn into the bent rest mesh, and `transforms`, which carry each joint's part of it
from the rest pose to the world. Source: Loper et al. 2015 (SMPL), eq. 2-12.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

# How many rows, and how many vertices times rows, are worked on together. A CPU wants what it multiplied to stay in
# its cache (half or double either costs up to a fifth), other devices want few and large kernels.
_BLOCK = {"cpu": (100, 40_000)}
_LARGE_BLOCK = (512, 1 << 30)


@dataclass(frozen=True, eq=False)
class Surface:
    """What a set of vertices needs to be posed: rest shape, how it changes, and which joints carry it."""

    directions: Float[Tensor, "3 V P"]  # metres for each feature; the first is the template itself
    weights: Float[Tensor, "V J"]  # rows sum to one

    def at(self, indices: Int[Tensor, " chosen"]) -> "Surface":
        """The same for some of the vertices only."""
        return type(self)(self.directions.index_select(1, indices), self.weights.index_select(0, indices))


@dataclass(frozen=True, eq=False)
class Pose:
    """What rows of bodies need to carry a surface."""

    features: Float[Tensor, "N P"]
    transforms: Float[Tensor, "12 N J"]  # row-major 3x4, from the rest pose to the world

    @classmethod
    def of(
        cls,
        rotmats: Float[Tensor, "N J 3 3"],
        betas: Float[Tensor, "N 16"],
        world: Float[Tensor, "3 4 J N"],
        rest: Float[Tensor, "3 J N"],
    ) -> "Pose":
        """The pose of placed joints."""
        bend = rotmats[:, 1:] - torch.eye(3, dtype=rotmats.dtype, device=rotmats.device)
        features = torch.cat([torch.ones_like(betas[:, :1]), betas, bend.flatten(1)], 1)
        shift = world[:, 3] - (world[:, :3] * rest).sum(1)
        transforms = torch.cat([world[:, :3], shift.unsqueeze(1)], 1).flatten(0, 1)
        return cls(features, transforms.transpose(1, 2))

    def split(self, counts: Sequence[int]) -> "list[Pose]":
        """Poses of so many rows each."""
        parts = zip(self.features.split(counts), self.transforms.split(counts, 1), strict=True)
        return [type(self)(*part) for part in parts]


def skin(surface: Surface, pose: Pose) -> Float[Tensor, "N V 3"]:
    """Vertices in the world, metres, stored axis first. They have first gradients only, and only for the pose."""
    return _Skin.apply(surface.directions, surface.weights, pose.features, pose.transforms)


def _skin(directions: Tensor, weights: Tensor, features: Tensor, transforms: Tensor) -> Float[Tensor, "N V 3"]:
    vertices = features.new_empty(3, len(features), len(weights))  # axis first, as the blocks are: no copy across
    for block in skinned_blocks(directions, weights, features[None], transforms[None]):
        (x, y, z), (a, b, c, moved) = block.bent[:, 0].unbind(), block.blended[0].unbind(1)
        torch.addcmul(moved.addcmul_(a, x).addcmul_(b, y), c, z, out=vertices[:, block.rows, block.columns])
    return vertices.permute(1, 2, 0)


def _skin_backward(
    directions: Tensor, weights: Tensor, features: Tensor, transforms: Tensor, gradient: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradients of the features and the transforms, from the vertices' one; the blocks are computed again."""
    totals = PoseGradient(directions, weights, features, transforms)
    for block in skinned_blocks(directions, weights, features[None], transforms[None]):
        bent, blended = block.bent[:, 0], block.blended[0]
        moved = blended[:, 3].copy_(gradient[block.rows, block.columns].permute(2, 0, 1))
        turned = pull_back(moved, bent, blended[:, :3], torch.empty_like(bent), blended[:, :3])
        totals.add(block, turned, blended)
    return totals.features.sum(0), totals.transforms


@dataclass(frozen=True, eq=False)
class Block:
    """Some vertices of some rows, of one pose of them or two."""

    rows: slice
    columns: slice  # vertices
    bent: Float[Tensor, "3 poses n v"]  # rest positions, metres
    blended: Float[Tensor, "poses 3 4 n v"]  # each vertex's transform from the rest pose to the world


def skinned_blocks(
    directions: Tensor,
    weights: Tensor,
    features: Float[Tensor, "poses N P"],
    transforms: Float[Tensor, "poses 12 N J"],
) -> Iterator[Block]:
    """The surface block by block. Each is written over the last: a fresh buffer costs as much as what fills it."""
    poses, total = features.shape[:2]
    most_rows, most_numbers = _BLOCK.get(features.device.type, _LARGE_BLOCK)
    most_rows = max(min(most_rows, total), 1)
    most_columns = min(max(most_numbers // most_rows // 16 * 16, 16), len(weights))
    scratch = features.new_empty(15 * poses * most_rows * most_columns)
    for rows in _slices(total, most_rows):
        own_features, own_transforms = features[:, rows].flatten(0, 1), transforms[:, :, rows].flatten(0, 2)
        count = len(own_features)
        for columns in _slices(len(weights), most_columns):
            width = columns.stop - columns.start
            bent, blended = scratch[: 15 * count * width].view(15, count, width).split([3, 12])
            torch.bmm(own_features.expand(3, -1, -1), directions[:, columns].transpose(1, 2), out=bent)
            torch.mm(own_transforms, weights[columns].T, out=blended.view(12 * count, width))
            shape = (count // poses, width)
            yield Block(rows, columns, bent.view(3, poses, *shape), blended.view(poses, 3, 4, *shape))


def pull_back(
    moved: Float[Tensor, "3 n v"],
    bent: Float[Tensor, "3 n v"],
    turns: Float[Tensor, "3 3 n v"],
    out_bent: Float[Tensor, "3 n v"],
    out_turns: Float[Tensor, "3 3 n v"],  # may be `turns`
) -> Float[Tensor, "3 n v"]:
    """Write the gradients of bent rest positions and of turns, given that of the vertices; returns the first."""
    for axis, (turn, way) in enumerate(zip(turns.unbind(), moved.unbind(), strict=True)):
        if axis == 0:
            torch.mul(turn, way, out=out_bent)
        else:
            out_bent.addcmul_(turn, way)
    torch.mul(moved.unsqueeze(1), bent, out=out_turns)
    return out_bent


class PoseGradient:
    """The sums that a pose's gradient grows in."""

    def __init__(self, directions: Tensor, weights: Tensor, features: Tensor, transforms: Tensor) -> None:
        self.directions, self.weights = directions, weights
        self.features = features.new_zeros(3, *features.shape)  # an axis each, summed at the end
        self.transforms = torch.zeros_like(transforms)

    def add(self, block: Block, bent: Float[Tensor, "3 n v"], blended: Float[Tensor, "3 4 n v"]) -> None:
        """Add a block's share, given the gradients of what it holds."""
        features = self.features[:, block.rows]
        torch.baddbmm(features, bent, self.directions[:, block.columns], out=features)
        share = blended.reshape(-1, blended.shape[-1]) @ self.weights[block.columns]
        self.transforms[:, block.rows] += share.view(12, blended.shape[2], -1)


def _slices(total: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, total)) for start in range(0, total, max(size, 1)))


class _Skin(torch.autograd.Function):
    """The vertices; the blocks are computed again for the gradient, so that none is kept."""

    @staticmethod
    def forward(ctx: Any, *inputs: Tensor) -> Tensor:
        ctx.save_for_backward(*inputs)
        return (skin_operator if torch.compiler.is_compiling() else _skin)(*inputs)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        work: Callable[..., Any] = skin_backward_operator if torch.compiler.is_compiling() else _skin_backward
        return None, None, *work(*ctx.saved_tensors, gradient)


# Operators of their own, so that compiling around them takes them as they are instead of a graph of every block. They
# are named by the package, so that a second version of it can be loaded beside this one under another name.
NAMESPACE = __name__.partition(".")[0]
_INPUTS = "Tensor directions, Tensor weights, Tensor features, Tensor transforms"
skin_operator = torch.library.custom_op(f"{NAMESPACE}::skin", _skin, mutates_args=(), schema=f"({_INPUTS}) -> Tensor")
skin_backward_operator = torch.library.custom_op(
    f"{NAMESPACE}::skin_backward",
    _skin_backward,
    mutates_args=(),
    schema=f"({_INPUTS}, Tensor gradient) -> (Tensor, Tensor)",
)


@skin_operator.register_fake
def _fake_skin(directions: Tensor, weights: Tensor, features: Tensor, transforms: Tensor) -> Tensor:
    return features.new_empty(3, len(features), len(weights)).permute(1, 2, 0)


@skin_backward_operator.register_fake
def _fake_skin_backward(*inputs: Tensor) -> tuple[Tensor, Tensor]:
    return torch.empty_like(inputs[2]), torch.empty_like(inputs[3])
