"""Linear blend skinning in blocks of vertices: each stays in the cache from its multiply to its last use.

A pose has `features` (1, betas, and the elements of R - I for each joint but the root), which the blend shapes turn
into `v_posed`, SMPL's rest mesh before skinning, and `transforms`, which carry each joint's part of that mesh from the
rest pose to the world. Source: Loper et al. 2015 (SMPL), eq. 2-12.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor


class BlockSize(NamedTuple):
    """How many bodies, and how many vertices times bodies and poses, are worked on together."""

    bodies: int
    vertices: int


# A CPU wants what it has multiplied to stay in its cache: for two poses half or double costs up to a fifth. Other
# devices want few and large kernels.
CPU_BLOCK, LARGE_BLOCK = BlockSize(100, 80_000), BlockSize(512, 1 << 30)
_WIDER = 1.75  # blocks whose v_posed is there already: as fast on one thread of a CPU, and a tenth faster on two
_block_size: BlockSize | None = None  # set by `use_block_size`


@contextmanager
def use_block_size(size: BlockSize) -> Iterator[None]:
    """Inside, blocks have this size on every device, e.g. to count on a CPU the operators that a GPU would run."""
    global _block_size
    before, _block_size = _block_size, size
    try:
        yield
    finally:
        _block_size = before


@dataclass(frozen=True, eq=False)
class Patch:
    """Blend shapes and skinning weights of consecutive vertices, for consecutive features and joints of a pose."""

    first: int  # vertex
    first_feature: int
    first_joint: int
    blend_shapes: Float[Tensor, "3 v p"]  # metres for each feature
    weights: Float[Tensor, "v j"]

    def select_features(self, features: Float[Tensor, "*n P"]) -> Float[Tensor, "*n p"]:
        """The patch's features out of a pose's."""
        return features[..., self.first_feature : self.first_feature + self.blend_shapes.shape[2]]

    def select_joints(self, transforms: Float[Tensor, "*m J"]) -> Float[Tensor, "*m j"]:
        """The patch's joints out of a pose's."""
        return transforms[..., self.first_joint : self.first_joint + self.weights.shape[1]]

    def clip(self, vertices: slice) -> "Patch | None":
        """The part of the patch within a block of vertices, numbered from the block's first, or None."""
        start, stop = max(vertices.start, self.first), min(vertices.stop, self.first + len(self.weights))
        if start >= stop:
            return None
        part = slice(start - self.first, stop - self.first)
        first, blend_shapes = start - vertices.start, self.blend_shapes[:, part]
        return replace(self, first=first, blend_shapes=blend_shapes, weights=self.weights[part])

    @property
    def vertices(self) -> slice:
        """The patch's vertices."""
        return slice(self.first, self.first + len(self.weights))


@dataclass(frozen=True, eq=False)
class Surface:
    """The constants that a set of vertices is posed with."""

    blend_shapes: Float[Tensor, "3 V P"]  # metres for each feature; the first is the template itself
    weights: Float[Tensor, "V J"]  # skinning weights; rows sum to one
    extra_patches: tuple[Patch, ...] = ()  # what further features and joints of a pose add to some of the vertices

    @property
    def patches(self) -> tuple[Patch, ...]:
        """All patches that a vertex sums over, the whole surface first."""
        return (Patch(0, 0, 0, self.blend_shapes, self.weights), *self.extra_patches)

    def to_operator_inputs(self) -> tuple[list[Tensor], list[Tensor], list[int]]:
        """The surface as types that a custom operator takes: blend shapes, weights and positions of its patches."""
        places = [place for patch in self.patches for place in (patch.first, patch.first_feature, patch.first_joint)]
        return [patch.blend_shapes for patch in self.patches], [patch.weights for patch in self.patches], places

    @classmethod
    def from_operator_inputs(cls, blend_shapes: list[Tensor], weights: list[Tensor], places: list[int]) -> "Surface":
        """The inverse of `to_operator_inputs`."""
        patches = zip(places[0::3], places[1::3], places[2::3], blend_shapes, weights, strict=True)
        return cls(blend_shapes[0], weights[0], tuple(Patch(*patch) for patch in patches)[1:])

    def select(self, indices: Int[Tensor, " chosen"]) -> "Surface":
        """The surface of some vertices only; it must have no extra patches."""
        assert not self.extra_patches
        return type(self)(self.blend_shapes.index_select(1, indices), self.weights.index_select(0, indices))


@dataclass(frozen=True, eq=False)
class Pose:
    """The pose of N bodies, in the form that skinning multiplies with."""

    features: Float[Tensor, "N P"]
    transforms: Float[Tensor, "12 N J"]  # row-major 3x4, from the rest pose to the world

    @classmethod
    def from_joints(
        cls,
        rotmats: Float[Tensor, "N J 3 3"],
        betas: Float[Tensor, "N 16"],
        world: Float[Tensor, "3 4 J N"],  # what `place_joints` returns
        rest: Float[Tensor, "3 J N"],  # metres: the joints in the rest pose
    ) -> "Pose":
        """The pose of bodies whose joints were placed. Source: Loper et al. 2015, eq. 3 and 9."""
        pose_feature = rotmats[:, 1:] - torch.eye(3, dtype=rotmats.dtype, device=rotmats.device)
        features = torch.cat([torch.ones_like(betas[:, :1]), betas, pose_feature.flatten(1)], 1)
        shift = world[:, 3] - (world[:, :3] * rest).sum(1)
        transforms = torch.cat([world[:, :3], shift.unsqueeze(1)], 1).flatten(0, 1)
        return cls(features, transforms.transpose(1, 2))

    def split(self, counts: Sequence[int]) -> "list[Pose]":
        """One pose for each count of consecutive bodies."""
        parts = zip(self.features.split(counts), self.transforms.split(counts, 1), strict=True)
        return [type(self)(*part) for part in parts]


def skin(surface: Surface, pose: Pose) -> Float[Tensor, "N V 3"]:
    """Vertices in the world, metres, stored axis first. Only first gradients exist, and only those of the pose."""
    return _Skin.apply(pose.features, pose.transforms, *surface.to_operator_inputs())


def _skin(features: Tensor, transforms: Tensor, *inputs: Any) -> Float[Tensor, "N V 3"]:
    """v_posed is written where the vertices will be, all of it in one multiply: threads share few large ones best."""
    surface = Surface.from_operator_inputs(*inputs)
    vertices = features.new_empty(len(features), 3, len(surface.weights))
    grid = _BlockGrid.of(surface, 1, features, _WIDER)
    scratch = features.new_empty(12 * grid.largest)
    for bodies in grid.bodies:
        body_features, body_transforms = features[bodies], transforms[:, bodies].flatten(0, 1)
        shape_features = body_features[:, : surface.blend_shapes.shape[2]]
        torch.mm(shape_features, surface.blend_shapes.flatten(0, 1).T, out=vertices[bodies].flatten(1))
        v_posed = vertices[bodies].transpose(0, 1)
        _pose_vertices(surface.extra_patches, body_features, v_posed, beta=1)
        for block, patches in grid.vertices:
            x, y, z = v_posed[..., block].unbind()
            skin_transforms = scratch[: 12 * x.numel()].view(12, *x.shape)
            _blend_transforms(patches, body_transforms, skin_transforms.flatten(0, 1))
            a, b, c, partial = skin_transforms.unflatten(0, (3, 4)).unbind(1)
            partial.addcmul_(a, x).addcmul_(b, y)
            # The third axis is read for every output, so it is written last.
            for out, row, column in zip((x, y, z), partial.unbind(), c.unbind(), strict=True):
                torch.addcmul(row, column, z, out=out)
    return vertices.transpose(1, 2)


def _skin_backward(gradient: Tensor, features: Tensor, transforms: Tensor, *inputs: Any) -> tuple[Tensor, Tensor]:
    """Gradients of the features and the transforms, given the vertices'; the blocks are computed again."""
    surface = Surface.from_operator_inputs(*inputs)
    totals = PoseGradient(features, transforms)
    for block in skinned_blocks(surface, features[None], transforms[None]):
        v_posed, skin_transforms = block.v_posed[:, 0], block.skin_transforms[0]
        world = skin_transforms[:, 3].copy_(gradient[block.bodies, block.vertices].permute(2, 0, 1))
        rotations = skin_transforms[:, :3]
        v_posed_gradient = block_backward(world, v_posed, rotations, torch.empty_like(v_posed), rotations)
        totals.add(block, v_posed_gradient, skin_transforms)
    return totals.features.sum(0), totals.transforms


@dataclass(frozen=True, eq=False)
class SkinnedBlock:
    """Some vertices of some bodies, each body in one pose or two."""

    bodies: slice
    vertices: slice
    patches: tuple[Patch, ...]  # numbered from the block's first vertex
    v_posed: Float[Tensor, "3 poses n v"]  # rest positions with all blend shapes, metres
    skin_transforms: Float[Tensor, "poses 3 4 n v"]  # of each vertex, from the rest pose to the world


@dataclass(frozen=True, eq=False)
class _BlockGrid:
    """How a surface of many bodies is cut into blocks."""

    bodies: list[slice]
    vertices: list[tuple[slice, tuple[Patch, ...]]]  # each block's vertices and patches
    largest: int  # vertices times bodies of the largest block

    @classmethod
    def of(cls, surface: Surface, poses: int, features: Tensor, wider: float = 1.0) -> "_BlockGrid":
        total, count = features.shape[-2], len(surface.weights)
        size = _block_size or (CPU_BLOCK if features.device.type == "cpu" else LARGE_BLOCK)
        bodies = max(min(size.bodies, total), 1)
        columns = min(max(int(size.vertices * wider) // poses // bodies // 16 * 16, 16), count)
        vertices = [
            (block, tuple(filter(None, (patch.clip(block) for patch in surface.patches))))
            for block in _slices(count, columns)
        ]
        return cls(list(_slices(total, bodies)), vertices, bodies * columns)


def skinned_blocks(
    surface: Surface, features: Float[Tensor, "poses N P"], transforms: Float[Tensor, "poses 12 N J"]
) -> Iterator[SkinnedBlock]:
    """The surface block by block. Each overwrites the last: a new buffer costs as much as the work that fills it."""
    poses = len(features)
    grid = _BlockGrid.of(surface, poses, features)
    scratch = features.new_empty(15 * poses * grid.largest)
    for bodies in grid.bodies:
        body_features, body_transforms = features[:, bodies].flatten(0, 1), transforms[:, :, bodies].flatten(0, 2)
        shape = (15, len(body_features))
        for block, patches in grid.vertices:
            width = block.stop - block.start
            v_posed, skin_transforms = scratch[: 15 * shape[1] * width].view(*shape, width).split([3, 12])
            _pose_vertices(patches, body_features, v_posed)
            _blend_transforms(patches, body_transforms, skin_transforms.view(-1, width))
            v_posed, skin_transforms = v_posed.unflatten(1, (poses, -1)), skin_transforms.view(poses, 3, 4, -1, width)
            yield SkinnedBlock(bodies, block, patches, v_posed, skin_transforms)


def _pose_vertices(
    patches: tuple[Patch, ...], features: Float[Tensor, "n P"], v_posed: Float[Tensor, "3 n v"], beta: int = 0
) -> None:
    """Write v_posed of a block, the sum over its patches, of which the first covers it; with beta=1 add to v_posed."""
    for patch in patches:
        part = v_posed[..., patch.vertices]
        patch_features = patch.select_features(features).expand(3, -1, -1)
        torch.baddbmm(part, patch_features, patch.blend_shapes.mT, beta=beta, out=part)
        beta = 1


def _blend_transforms(
    patches: tuple[Patch, ...], transforms: Float[Tensor, "m J"], skin_transforms: Float[Tensor, "m v"]
) -> None:
    """Write the transforms of a block's vertices, summed over patches in the same way."""
    for patch in patches:
        part = skin_transforms[:, patch.vertices]
        beta = int(patch is not patches[0])
        torch.addmm(part, patch.select_joints(transforms), patch.weights.T, beta=beta, out=part)


def block_backward(
    gradient: Float[Tensor, "3 n v"],  # of the vertices in the world
    v_posed: Float[Tensor, "3 n v"],
    rotations: Float[Tensor, "3 3 n v"],  # of the skin transforms
    out_v_posed: Float[Tensor, "3 n v"],
    out_rotations: Float[Tensor, "3 3 n v"],  # may be `rotations`
) -> Float[Tensor, "3 n v"]:
    """Write the gradients of v_posed and of the skin transforms' rotations; returns the first."""
    for axis, (row, component) in enumerate(zip(rotations.unbind(), gradient.unbind(), strict=True)):
        if axis == 0:
            torch.mul(row, component, out=out_v_posed)
        else:
            out_v_posed.addcmul_(row, component)
    torch.mul(gradient.unsqueeze(1), v_posed, out=out_rotations)
    return out_v_posed


class PoseGradient:
    """Accumulates the gradients of a pose's features and transforms over blocks."""

    def __init__(self, features: Tensor, transforms: Tensor) -> None:
        self.features = features.new_zeros(3, *features.shape)  # one for each axis, summed at the end
        self.transforms = torch.zeros_like(transforms)

    def add(
        self, block: SkinnedBlock, v_posed: Float[Tensor, "3 n v"], skin_transforms: Float[Tensor, "3 4 n v"]
    ) -> None:
        """Add a block, given the gradients of its v_posed and skin transforms."""
        skin_transforms = skin_transforms.reshape(-1, skin_transforms.shape[-1])
        for patch in block.patches:
            features = patch.select_features(self.features[:, block.bodies])
            transforms = patch.select_joints(self.transforms[:, block.bodies])
            torch.baddbmm(features, v_posed[..., patch.vertices], patch.blend_shapes, out=features)
            transforms += (skin_transforms[:, patch.vertices] @ patch.weights).view(transforms.shape)


def _slices(total: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, total)) for start in range(0, total, max(size, 1)))


class _Skin(torch.autograd.Function):
    """Skinned vertices; the backward pass computes the blocks again, so that none is saved."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, transforms: Tensor, *inputs: Any) -> Tensor:
        ctx.save_for_backward(features, transforms)
        ctx.inputs = inputs
        return (skin_operator if torch.compiler.is_compiling() else _skin)(features, transforms, *inputs)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        work: Callable[..., Any] = skin_backward_operator if torch.compiler.is_compiling() else _skin_backward
        return *work(gradient, *ctx.saved_tensors, *ctx.inputs), None, None, None


# Custom operators, so that torch.compile takes them as they are instead of tracing every block. Their namespace is the
# package's name, so that a second version of the package can be loaded beside this one under another name.
NAMESPACE = __name__.partition(".")[0]
_INPUTS = "Tensor features, Tensor transforms, Tensor[] blend_shapes, Tensor[] weights, int[] places"
skin_operator = torch.library.custom_op(f"{NAMESPACE}::skin", _skin, mutates_args=(), schema=f"({_INPUTS}) -> Tensor")
skin_backward_operator = torch.library.custom_op(
    f"{NAMESPACE}::skin_backward",
    _skin_backward,
    mutates_args=(),
    schema=f"(Tensor gradient, {_INPUTS}) -> (Tensor, Tensor)",
)


@skin_operator.register_fake
def _fake_skin(features: Tensor, transforms: Tensor, blend_shapes: Any, weights: Any, places: Any) -> Tensor:
    return features.new_empty(len(features), 3, len(weights[0])).transpose(1, 2)


@skin_backward_operator.register_fake
def _fake_skin_backward(gradient: Tensor, features: Tensor, transforms: Tensor, *inputs: Any) -> tuple[Tensor, Tensor]:
    return torch.empty_like(features), torch.empty_like(transforms)
