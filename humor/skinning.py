"""Linear blend skinning in blocks of vertices: each stays in the cache from its multiply to its last use.

A row is a body in a pose. What it needs is `features` (1, betas, and each rotation's elements minus identity, root left
out), which the surface's directions turn into the bent rest mesh, and `transforms`, which carry each joint's part of it
from the rest pose to the world. Source: Loper et al. 2015 (SMPL), eq. 2-12.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

# How many rows, and how many vertices times rows and poses, are worked on together. A CPU wants what it multiplied to
# stay in its cache (for two poses half or double costs up to a fifth), other devices want few and large kernels.
_BLOCK = {"cpu": (100, 80_000)}
_LARGE_BLOCK = (512, 1 << 30)
_WIDER = 1.75  # of a mesh that is bent already: as good on one thread of a CPU, and a tenth faster on two


@dataclass(frozen=True, eq=False)
class Patch:
    """A run of vertices, and what a run of a pose's features and of its joints does to them."""

    first: int  # of the vertices
    features: int  # where its features begin among the pose's
    joints: int  # and its joints
    directions: Float[Tensor, "3 v p"]  # metres for each feature
    weights: Float[Tensor, "v j"]

    def own_features(self, features: Float[Tensor, "*n P"]) -> Tensor:
        """Its own of a pose's."""
        return features[..., self.features : self.features + self.directions.shape[2]]

    def own_joints(self, transforms: Float[Tensor, "*m J"]) -> Tensor:
        """Its own of a pose's."""
        return transforms[..., self.joints : self.joints + self.weights.shape[1]]

    def within(self, columns: slice) -> "Patch | None":
        """What it has in common with a block of vertices, which are counted from the block's first then."""
        start, stop = max(columns.start, self.first), min(columns.stop, self.first + len(self.weights))
        if start >= stop:
            return None
        own = slice(start - self.first, stop - self.first)
        return replace(self, first=start - columns.start, directions=self.directions[:, own], weights=self.weights[own])

    @property
    def vertices(self) -> slice:
        """Where they are."""
        return slice(self.first, self.first + len(self.weights))


@dataclass(frozen=True, eq=False)
class Surface:
    """What a set of vertices needs to be posed: rest shape, how it changes, and which joints carry it."""

    directions: Float[Tensor, "3 V P"]  # metres for each feature; the first is the template itself
    weights: Float[Tensor, "V J"]  # rows sum to one
    further: tuple[Patch, ...] = ()  # what further features and joints of a pose add to some of the vertices

    @property
    def patches(self) -> tuple[Patch, ...]:
        """All that is to be summed for a vertex, the whole surface first."""
        return (Patch(0, 0, 0, self.directions, self.weights), *self.further)

    def parts(self) -> tuple[list[Tensor], list[Tensor], list[int]]:
        """The same as what an operator may be given."""
        places = [place for patch in self.patches for place in (patch.first, patch.features, patch.joints)]
        return [patch.directions for patch in self.patches], [patch.weights for patch in self.patches], places

    @classmethod
    def of_parts(cls, directions: list[Tensor], weights: list[Tensor], places: list[int]) -> "Surface":
        """And back."""
        patches = zip(places[0::3], places[1::3], places[2::3], directions, weights, strict=True)
        return cls(directions[0], weights[0], tuple(Patch(*patch) for patch in patches)[1:])

    def at(self, indices: Int[Tensor, " chosen"]) -> "Surface":
        """The same for some of the vertices only, of a surface without further patches."""
        assert not self.further
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
    return _Skin.apply(pose.features, pose.transforms, *surface.parts())


def _skin(features: Tensor, transforms: Tensor, *parts: Any) -> Float[Tensor, "N V 3"]:
    """The mesh is bent where its vertices will stay, all of it in one multiply: threads share few large ones best."""
    surface = Surface.of_parts(*parts)
    vertices = features.new_empty(len(features), 3, len(surface.weights))
    blocks = _Blocks.of(surface, 1, features, _WIDER)
    scratch = features.new_empty(12 * blocks.numbers)
    for rows in blocks.rows:
        own_features, own_transforms = features[rows], transforms[:, rows].flatten(0, 1)
        own = own_features[:, : surface.directions.shape[2]]
        torch.mm(own, surface.directions.flatten(0, 1).T, out=vertices[rows].flatten(1))
        bent = vertices[rows].transpose(0, 1)
        _bend(surface.further, own_features, bent, before=1)
        for columns, patches in blocks.columns:
            x, y, z = bent[..., columns].unbind()
            blended = scratch[: 12 * x.numel()].view(12, *x.shape)
            _blend(patches, own_transforms, blended.flatten(0, 1))
            a, b, c, moved = blended.unflatten(0, (3, 4)).unbind(1)
            moved.addcmul_(a, x).addcmul_(b, y)
            for place, shifted, turn in zip(
                (x, y, z), moved.unbind(), c.unbind(), strict=True
            ):  # z is needed till last
                torch.addcmul(shifted, turn, z, out=place)
    return vertices.transpose(1, 2)


def _skin_backward(gradient: Tensor, features: Tensor, transforms: Tensor, *parts: Any) -> tuple[Tensor, Tensor]:
    """Gradients of the features and the transforms, from the vertices' one; the blocks are computed again."""
    surface = Surface.of_parts(*parts)
    totals = PoseGradient(features, transforms)
    for block in skinned_blocks(surface, features[None], transforms[None]):
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
    patches: tuple[Patch, ...]  # what moves them, counted from the block's first vertex
    bent: Float[Tensor, "3 poses n v"]  # rest positions, metres
    blended: Float[Tensor, "poses 3 4 n v"]  # each vertex's transform from the rest pose to the world


@dataclass(frozen=True, eq=False)
class _Blocks:
    """How a surface in many rows is cut."""

    rows: list[slice]
    columns: list[tuple[slice, tuple[Patch, ...]]]  # vertices, and what moves them
    numbers: int  # vertices times rows, at most

    @classmethod
    def of(cls, surface: Surface, poses: int, features: Float[Tensor, "*poses N P"], wider: float = 1.0) -> "_Blocks":
        total, count = features.shape[-2], len(surface.weights)
        most_rows, most_numbers = _BLOCK.get(features.device.type, _LARGE_BLOCK)
        most_rows = max(min(most_rows, total), 1)
        most_columns = min(max(int(most_numbers * wider) // poses // most_rows // 16 * 16, 16), count)
        columns = [
            (columns, tuple(filter(None, (patch.within(columns) for patch in surface.patches))))
            for columns in _slices(count, most_columns)
        ]
        return cls(list(_slices(total, most_rows)), columns, most_rows * most_columns)


def skinned_blocks(
    surface: Surface, features: Float[Tensor, "poses N P"], transforms: Float[Tensor, "poses 12 N J"]
) -> Iterator[Block]:
    """The surface block by block. Each is written over the last: a fresh buffer costs as much as what fills it."""
    poses = len(features)
    blocks = _Blocks.of(surface, poses, features)
    scratch = features.new_empty(15 * poses * blocks.numbers)
    for rows in blocks.rows:
        own_features, own_transforms = features[:, rows].flatten(0, 1), transforms[:, :, rows].flatten(0, 2)
        shape = (15, len(own_features))
        for columns, patches in blocks.columns:
            width = columns.stop - columns.start
            bent, blended = scratch[: 15 * shape[1] * width].view(*shape, width).split([3, 12])
            _bend(patches, own_features, bent)
            _blend(patches, own_transforms, blended.view(-1, width))
            yield Block(rows, columns, patches, bent.unflatten(1, (poses, -1)), blended.view(poses, 3, 4, -1, width))


def _bend(
    patches: tuple[Patch, ...], features: Float[Tensor, "n P"], bent: Float[Tensor, "3 n v"], before: int = 0
) -> None:
    """Rest positions of a block: the sum of what patches do, the first of which is there for all of it; or add it."""
    for patch in patches:
        part = bent[..., patch.vertices]
        own = patch.own_features(features).expand(3, -1, -1)
        torch.baddbmm(part, own, patch.directions.mT, beta=before, out=part)
        before = 1


def _blend(patches: tuple[Patch, ...], transforms: Float[Tensor, "m J"], blended: Float[Tensor, "m v"]) -> None:
    """Transforms of a block's vertices, summed in the same way."""
    for patch in patches:
        part = blended[:, patch.vertices]
        before = int(patch is not patches[0])
        torch.addmm(part, patch.own_joints(transforms), patch.weights.T, beta=before, out=part)


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

    def __init__(self, features: Tensor, transforms: Tensor) -> None:
        self.features = features.new_zeros(3, *features.shape)  # an axis each, summed at the end
        self.transforms = torch.zeros_like(transforms)

    def add(self, block: Block, bent: Float[Tensor, "3 n v"], blended: Float[Tensor, "3 4 n v"]) -> None:
        """Add a block's share, given the gradients of what it holds."""
        blended = blended.reshape(-1, blended.shape[-1])
        for patch in block.patches:
            features = patch.own_features(self.features[:, block.rows])
            transforms = patch.own_joints(self.transforms[:, block.rows])
            torch.baddbmm(features, bent[..., patch.vertices], patch.directions, out=features)
            transforms += (blended[:, patch.vertices] @ patch.weights).view(transforms.shape)


def _slices(total: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, total)) for start in range(0, total, max(size, 1)))


class _Skin(torch.autograd.Function):
    """The vertices; the blocks are computed again for the gradient, so that none is kept."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, transforms: Tensor, *parts: Any) -> Tensor:
        ctx.save_for_backward(features, transforms)
        ctx.parts = parts
        return (skin_operator if torch.compiler.is_compiling() else _skin)(features, transforms, *parts)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        work: Callable[..., Any] = skin_backward_operator if torch.compiler.is_compiling() else _skin_backward
        return *work(gradient, *ctx.saved_tensors, *ctx.parts), None, None, None


# Operators of their own, so that compiling around them takes them as they are instead of a graph of every block. They
# are named by the package, so that a second version of it can be loaded beside this one under another name.
NAMESPACE = __name__.partition(".")[0]
_INPUTS = "Tensor features, Tensor transforms, Tensor[] directions, Tensor[] weights, int[] places"
skin_operator = torch.library.custom_op(f"{NAMESPACE}::skin", _skin, mutates_args=(), schema=f"({_INPUTS}) -> Tensor")
skin_backward_operator = torch.library.custom_op(
    f"{NAMESPACE}::skin_backward",
    _skin_backward,
    mutates_args=(),
    schema=f"(Tensor gradient, {_INPUTS}) -> (Tensor, Tensor)",
)


@skin_operator.register_fake
def _fake_skin(features: Tensor, transforms: Tensor, directions: Any, weights: Any, places: Any) -> Tensor:
    return features.new_empty(len(features), 3, len(weights[0])).transpose(1, 2)


@skin_backward_operator.register_fake
def _fake_skin_backward(gradient: Tensor, features: Tensor, transforms: Tensor, *parts: Any) -> tuple[Tensor, Tensor]:
    return torch.empty_like(features), torch.empty_like(transforms)
