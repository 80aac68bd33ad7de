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

from .skinning import NAMESPACE, Pose, PoseGradient, Surface, pull_back, skinned_blocks


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
    return _MeshError.apply(surface.directions, surface.weights, *rows, *against, wanted, compiled)


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
    error = features.new_zeros(())
    totals = PoseGradient(features, transforms)
    compare = _compiled_compare() if compiled else compare_in_place
    both = torch.stack([features, target_features]), torch.stack([transforms, target_transforms])
    for block in skinned_blocks(Surface(directions, weights), *both):
        block_error, bent, blended = compare(block.bent, block.blended, gradient)
        error += block_error
        if gradient:
            totals.add(block, bent, blended)
    return error, 2 * totals.features.sum(0), 2 * totals.transforms


def compare_in_place(
    bent: Float[Tensor, "3 2 n v"], blended: Float[Tensor, "2 3 4 n v"], gradient: bool
) -> tuple[Float[Tensor, ""], Float[Tensor, "3 n v"], Float[Tensor, "3 4 n v"]]:
    """Squared difference of a block's two poses, summed, and half the gradients of the first pose.

    They take the second pose's place, which is not needed any more.
    """
    ours, theirs = blended.unbind()
    *turns, difference = theirs.unbind(1)
    *our_turns, our_shift = ours.unbind(1)
    torch.sub(our_shift, difference, out=difference)
    for axis, (our_bent, their_bent) in enumerate(map(torch.unbind, bent)):
        difference.addcmul_(our_turns[axis], our_bent).addcmul_(turns[axis], their_bent, value=-1)
    error = torch.linalg.vecdot(difference.flatten(1), difference.flatten(1)).sum()
    if gradient:
        pull_back(difference, bent[:, 0], ours[:, :3], bent[:, 1], theirs[:, :3])
    return error, bent[:, 1], theirs


def compare(
    bent: Float[Tensor, "3 2 n v"], blended: Float[Tensor, "2 3 4 n v"], gradient: bool
) -> tuple[Float[Tensor, ""], Float[Tensor, "3 n v"], Float[Tensor, "3 4 n v"]]:
    """The same without writing over anything and number by number, which a compiler fuses into one pass."""
    ours, theirs = ([row.unbind() for row in pose.unbind()] for pose in blended.unbind())
    our_bent, their_bent = (pose.unbind() for pose in bent.unbind(1))
    x, y, z = (  # the difference, axis by axis
        (a * p + b * q + c * r + d) - (e * u + f * v + g * w + h)
        for (p, q, r), (a, b, c, d), (u, v, w), (e, f, g, h) in zip(
            [our_bent] * 3, ours, [their_bent] * 3, theirs, strict=True
        )
    )
    error = (x.square() + y.square() + z.square()).sum()
    if not gradient:
        return error, bent[:, 0], blended[0]
    turned = [a * x + b * y + c * z for a, b, c in list(zip(*ours, strict=True))[:3]]
    carried = [number for axis in (x, y, z) for number in (*(axis * p for p in our_bent), axis)]
    return error, torch.stack(turned), torch.stack(carried).unflatten(0, (3, 4))


@cache
def _compiled_compare() -> Any:
    return torch.compile(compare, fullgraph=True, dynamic=True)


class _MeshError(torch.autograd.Function):
    """The error alone, its gradients kept."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        work = mesh_error_operator if torch.compiler.is_compiling() else mesh_error_and_gradients
        error, features, transforms = work(*inputs)
        ctx.save_for_backward(features, transforms)
        return error

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor | None, ...]:
        features, transforms = ctx.saved_tensors
        return None, None, scale * features, scale * transforms, None, None, None, None


# An operator of its own, so that compiling a step takes it as it is instead of a graph of every block.
mesh_error_operator = torch.library.custom_op(
    f"{NAMESPACE}::mesh_error",
    mesh_error_and_gradients,
    mutates_args=(),
    schema="(Tensor directions, Tensor weights, Tensor features, Tensor transforms, Tensor target_features,"
    " Tensor target_transforms, bool gradient, bool compiled) -> (Tensor, Tensor, Tensor)",
)


@mesh_error_operator.register_fake
def _fake(directions: Tensor, weights: Tensor, *poses: Any) -> tuple[Tensor, Tensor, Tensor]:
    return poses[0].new_empty(()), torch.empty_like(poses[0]), torch.empty_like(poses[1])
