"""The mesh term of the loss as one operator with its own gradient, so that no tensor of a mesh's size is kept.

The term is a sum of squares, so its gradient follows from the difference at once. The forward pass computes it while a
block of vertices is in the cache, reduced to the few numbers that each body has; the backward pass only scales those.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from .skinning import NAMESPACE, Pose, PoseGradient, Surface, block_backward, skinned_blocks
from .triton_kernels import import_kernels

BlockWork = Literal["operators", "compiled", "triton"]  # how the blocks are worked on


def plain_mesh_loss(surface: Surface, predicted: Pose, target: Pose) -> Float[Tensor, ""]:
    """Squared distance in square metres between two poses of a surface, summed over bodies and vertices."""

    def vertices(pose: Pose) -> Tensor:
        v_posed = (pose.features @ surface.blend_shapes.mT).unsqueeze(0)  # (1, 3, N, V)
        skin_transforms = (pose.transforms @ surface.weights.T).unflatten(0, (3, 4))
        return (skin_transforms[:, :3] * v_posed).sum(1) + skin_transforms[:, 3]

    return (vertices(predicted) - vertices(target)).square().sum()


def fused_mesh_loss(
    surface: Surface, predicted: Pose, target: Pose, work: BlockWork = "operators"
) -> Float[Tensor, ""]:
    """The same, block by block. Only the prediction gets a gradient, and only a first one.

    With "compiled", torch.compile fuses what happens to a block between the multiplies; "triton" is one kernel, which
    raises SettingError where triton is missing, and for a CPU that does not interpret it.
    """
    inputs = (predicted.features, predicted.transforms)
    needs_gradient = torch.is_grad_enabled() and any(x.requires_grad for x in inputs)
    targets = (target.features.detach(), target.transforms.detach())
    return _MeshLoss.apply(surface.blend_shapes, surface.weights, *inputs, *targets, needs_gradient, work)


MESH_LOSSES: dict[str, Callable[[Surface, Pose, Pose], Tensor]] = {
    "plain": plain_mesh_loss,
    "fused": fused_mesh_loss,
    "compiled": partial(fused_mesh_loss, work="compiled"),
    "triton": partial(fused_mesh_loss, work="triton"),
}


def mesh_loss_and_gradients(
    blend_shapes: Tensor,
    weights: Tensor,
    features: Float[Tensor, "N P"],
    transforms: Float[Tensor, "12 N J"],
    target_features: Float[Tensor, "N P"],
    target_transforms: Float[Tensor, "12 N J"],
    gradient: bool,
    work: BlockWork,
) -> tuple[Float[Tensor, ""], Float[Tensor, "N P"], Float[Tensor, "12 N J"]]:
    """The loss and its gradients of the predicted features and transforms, which are zeros without `gradient`."""
    if work == "triton":
        inputs = blend_shapes, weights, features, transforms, target_features, target_transforms
        kernels = import_kernels("triton_mesh_loss", 'mesh "triton"', '"fused"')
        return kernels.mesh_loss_and_gradients(*inputs, gradient)
    loss = features.new_zeros(())
    totals = PoseGradient(features, transforms)
    block_loss = _compiled_block_loss() if work == "compiled" else block_loss_in_place
    both = torch.stack([features, target_features]), torch.stack([transforms, target_transforms])
    for block in skinned_blocks(Surface(blend_shapes, weights), *both):
        part, v_posed, skin_transforms = block_loss(block.v_posed, block.skin_transforms, gradient)
        loss += part
        if gradient:
            totals.add(block, v_posed, skin_transforms)
    return loss, 2 * totals.features.sum(0), 2 * totals.transforms


def block_loss_in_place(
    v_posed: Float[Tensor, "3 2 n v"], skin_transforms: Float[Tensor, "2 3 4 n v"], gradient: bool
) -> tuple[Float[Tensor, ""], Float[Tensor, "3 n v"], Float[Tensor, "3 4 n v"]]:
    """Squared distance of a block's two poses, summed, and half the gradients of the first pose.

    The gradients overwrite the second pose, which is not needed any more.
    """
    predicted, target = skin_transforms.unbind()
    *target_columns, difference = target.unbind(1)
    *columns, translation = predicted.unbind(1)
    torch.sub(translation, difference, out=difference)
    for axis, (ours, theirs) in enumerate(map(torch.unbind, v_posed)):
        difference.addcmul_(columns[axis], ours).addcmul_(target_columns[axis], theirs, value=-1)
    loss = torch.linalg.vecdot(difference.flatten(1), difference.flatten(1)).sum()
    if gradient:
        block_backward(difference, v_posed[:, 0], predicted[:, :3], v_posed[:, 1], target[:, :3])
    return loss, v_posed[:, 1], target


def block_loss(
    v_posed: Float[Tensor, "3 2 n v"], skin_transforms: Float[Tensor, "2 3 4 n v"], gradient: bool
) -> tuple[Float[Tensor, ""], Float[Tensor, "3 n v"], Float[Tensor, "3 4 n v"]]:
    """The same out of place and number by number, which a compiler fuses into one pass."""
    predicted, target = ([row.unbind() for row in pose.unbind()] for pose in skin_transforms.unbind())
    ours, theirs = (pose.unbind() for pose in v_posed.unbind(1))
    x, y, z = (  # the difference, axis by axis
        (a * p + b * q + c * r + d) - (e * u + f * v + g * w + h)
        for (p, q, r), (a, b, c, d), (u, v, w), (e, f, g, h) in zip(
            [ours] * 3, predicted, [theirs] * 3, target, strict=True
        )
    )
    loss = (x.square() + y.square() + z.square()).sum()
    if not gradient:
        return loss, v_posed[:, 0], skin_transforms[0]
    v_posed_gradient = [a * x + b * y + c * z for a, b, c in list(zip(*predicted, strict=True))[:3]]
    gradients = [number for axis in (x, y, z) for number in (*(axis * p for p in ours), axis)]
    return loss, torch.stack(v_posed_gradient), torch.stack(gradients).unflatten(0, (3, 4))


@cache
def _compiled_block_loss() -> Any:
    return torch.compile(block_loss, fullgraph=True, dynamic=True)


class _MeshLoss(torch.autograd.Function):
    """The loss, with its gradients computed in the forward pass and saved."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        run = mesh_loss_operator if torch.compiler.is_compiling() else mesh_loss_and_gradients
        loss, features, transforms = run(*inputs)
        ctx.save_for_backward(features, transforms)
        return loss

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor | None, ...]:
        features, transforms = ctx.saved_tensors
        return None, None, scale * features, scale * transforms, None, None, None, None


# A custom operator, so that torch.compile takes it as it is instead of tracing every block.
mesh_loss_operator = torch.library.custom_op(
    f"{NAMESPACE}::mesh_loss",
    mesh_loss_and_gradients,
    mutates_args=(),
    schema="(Tensor blend_shapes, Tensor weights, Tensor features, Tensor transforms, Tensor target_features,"
    " Tensor target_transforms, bool gradient, str work) -> (Tensor, Tensor, Tensor)",
)


@mesh_loss_operator.register_fake
def _fake(blend_shapes: Tensor, weights: Tensor, *poses: Any) -> tuple[Tensor, Tensor, Tensor]:
    return poses[0].new_empty(()), torch.empty_like(poses[0]), torch.empty_like(poses[1])
