"""Errors of lifted joints, as the lifting papers report them, in millimetres. Joints are metres."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

MILLIMETRES = 1000.0


def mpjpe(predicted: Float[Tensor, "*b J 3"], target: Float[Tensor, "*b J 3"]) -> Float[Tensor, ""]:
    """Mean per-joint position error."""
    return MILLIMETRES * (predicted.float() - target).norm(dim=-1).mean()


def p_mpjpe(predicted: Float[Tensor, "frames J 3"], target: Float[Tensor, "frames J 3"]) -> Float[Tensor, ""]:
    """The error after the rotation, scale and translation of each frame that fit it best.

    Source: Umeyama 1991, with a rotation that does not mirror.
    """
    predicted, target = (x.double() for x in (predicted, target))
    middles = [x.mean(-2, keepdim=True) for x in (predicted, target)]
    centred, wanted = predicted - middles[0], target - middles[1]
    left, sizes, right = torch.linalg.svd(centred.mT @ wanted)
    signs = torch.ones_like(sizes)
    signs[..., -1] = torch.linalg.det(left @ right).sign()
    rotation = (left * signs.unsqueeze(-2)) @ right
    scale = (sizes * signs).sum(-1) / centred.square().sum((-2, -1)).clamp_min(1e-12)
    return mpjpe((scale[..., None, None] * (centred @ rotation) + middles[1]).float(), target.float())


def n_mpjpe(predicted: Float[Tensor, "frames J 3"], target: Float[Tensor, "frames J 3"]) -> Float[Tensor, ""]:
    """The error after the scale of each frame that fits it best. Source: Rhodin et al. 2018."""
    predicted = predicted.float()
    scale = (predicted * target).sum((-2, -1)) / predicted.square().sum((-2, -1)).clamp_min(1e-12)
    return mpjpe(scale[..., None, None] * predicted, target)


def mpjve(predicted: Float[Tensor, "frames J 3"], target: Float[Tensor, "frames J 3"]) -> Float[Tensor, ""]:
    """Mean per-joint velocity error of consecutive frames, millimetres a frame."""
    return mpjpe(predicted.float().diff(dim=0), target.diff(dim=0))


METRICS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "MPJPE": mpjpe,
    "P-MPJPE": p_mpjpe,
    "N-MPJPE": n_mpjpe,
    "MPJVE": mpjve,
}
