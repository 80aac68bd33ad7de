"""The mesh term of the loss as one operator with its own gradient: nothing of a mesh's size outlives a block.

The term is a sum of squares, so its gradient is known as soon as the difference is. The forward pass takes it along
while a block of vertices is in the cache, down to the few numbers that a row has; the backward pass scales those.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from .skinning import Pose, PoseGradient, Surface, pull_back, skinned_blocks


def plain_mesh_error(surface: Surface, predicted: Pose, target: Pose) -> Float[Tensor, ""]:
    """Sum over rows and vertices of the squared distance between two poses of a surface, as it is written."""

    def vertices(pose: Pose) -> Tensor:
        bent = (pose.features @ surface.directions.mT).unsqueeze(0)  # (1, 3, N, V)
        blended = (pose.transforms @ surface.weights.T).unflatten(0, (3, 4))
        return (blended[:, :3] * bent).sum(1) + blended[:, 3]

    return (vertices(predicted) - vertices(target)).square().sum()


def fused_mesh_error(surface: Surface, predicted: Pose, target: Pose, compiled: bool = False) -> Float[Tensor, ""]:
    """The same in blocks. Only the prediction gets a gradient, and only a first one.

    `compiled` has torch.compile fuse what is done to a block between the multiplies.
    """
    rows = (predicted.features, predicted.transforms)
    wanted = torch.is_grad_enabled() and any(row.requires_grad for row in rows)
    against = (target.features.detach(), target.transforms.detach())
    return _mesh_error(surface.directions, surface.weights, *rows, *against, wanted, compiled)[0]


MESH_ERRORS: dict[str, Callable[[Surface, Pose, Pose], Tensor]] = {
    "plain": plain_mesh_error,
    "fused": fused_mesh_error,
    "compiled": partial(fused_mesh_error, compiled=True),
}


def mesh_error_and_gradients(
    directions: Tensor,
    weights: Tensor,
    features: Float[Tensor, "N P"],
    transforms: Float[Tensor, "12 N J"],
    target_features: Float[Tensor, "N P"],
    target_transforms: Float[Tensor, "12 N J"],
    gradient: bool,
    compiled: bool,
) -> tuple[Float[Tensor, ""], Float[Tensor, "N P"], Float[Tensor, "12 N J"]]:
    """The error, and the gradients of the prediction's features and transforms: zeros where they are not wanted."""
    error = features.new_zeros(3)
    totals = PoseGradient(directions, weights, features, transforms)
    compare = _compiled_compare() if compiled else compare_in_place
    both = torch.stack([features, target_features]), torch.stack([transforms, target_transforms], 1)
    for block in skinned_blocks(directions, weights, *both):
        block_error, bent, blended = compare(block.bent, block.blended, gradient)
        error += block_error
        if gradient:
            totals.add(block, bent, blended)
    return error.sum(), 2 * totals.features.sum(0), 2 * totals.transforms


def compare_in_place(
    bent: Float[Tensor, "3 2 n v"], blended: Float[Tensor, "3 4 2 n v"], gradient: bool
) -> tuple[Float[Tensor, "3"], Float[Tensor, "3 n v"], Float[Tensor, "3 4 n v"]]:
    """Squared difference of a block's two poses, an axis each, and half the gradients of the first pose.

    They take the second pose's place, which is not needed any more.
    """
    difference = torch.sub(blended[:, 3, 0], blended[:, 3, 1], out=blended[:, 3, 1])
    for axis in range(3):
        difference.addcmul_(blended[:, axis, 0], bent[axis, 0])
        difference.addcmul_(blended[:, axis, 1], bent[axis, 1], value=-1)
    error = torch.linalg.vecdot(difference.flatten(1), difference.flatten(1))
    if gradient:
        pull_back(difference, bent[:, 0], blended[:, :3, 0], bent[:, 1], blended[:, :3, 1])
    return error, bent[:, 1], blended[:, :, 1]


def compare(
    bent: Float[Tensor, "3 2 n v"], blended: Float[Tensor, "3 4 2 n v"], gradient: bool
) -> tuple[Float[Tensor, "3"], Float[Tensor, "3 n v"], Float[Tensor, "3 4 n v"]]:
    """The same without writing over anything, for a compiler to fuse."""
    turns, shifts = blended[:, :3], blended[:, 3]
    vertices = (turns * bent).sum(1) + shifts
    difference = vertices[:, 0] - vertices[:, 1]
    error = difference.square().sum((1, 2))
    if not gradient:
        return error, bent[:, 0], blended[:, :, 0]
    carried = torch.cat([difference.unsqueeze(1) * bent[:, 0], difference.unsqueeze(1)], 1)
    return error, (turns[:, :, 0] * difference.unsqueeze(1)).sum(0), carried


@cache
def _compiled_compare() -> Any:
    return torch.compile(compare, fullgraph=True, dynamic=False)


@torch.library.custom_op("humor::mesh_error", mutates_args=())
def _mesh_error(
    directions: Tensor,
    weights: Tensor,
    features: Tensor,
    transforms: Tensor,
    target_features: Tensor,
    target_transforms: Tensor,
    gradient: bool,
    compiled: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """An operator of its own, so that compiling a step around it takes it as it is."""
    poses = features, transforms, target_features, target_transforms
    return mesh_error_and_gradients(directions, weights, *poses, gradient, compiled)


@_mesh_error.register_fake
def _fake(
    directions: Tensor,
    weights: Tensor,
    features: Tensor,
    transforms: Tensor,
    target_features: Tensor,
    target_transforms: Tensor,
    gradient: bool,
    compiled: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    return features.new_empty(()), torch.empty_like(features), torch.empty_like(transforms)


def _keep_gradients(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    ctx.save_for_backward(*output[1:])


def _scale_gradients(ctx: Any, scale: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
    features, transforms = ctx.saved_tensors
    return None, None, scale * features, scale * transforms, None, None, None, None


_mesh_error.register_autograd(_scale_gradients, setup_context=_keep_gradients)
