"""Forward kinematics by tree depth: one small batched multiply for each depth of the tree, not for each joint."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from .skeleton import Skeleton


@dataclass(frozen=True, eq=False)
class RigidTransforms:
    """Rotation and translation of every joint, both from the joint's own frame to the world."""

    rotmats: Float[Tensor, "*batch joints 3 3"]
    translations: Float[Tensor, "*batch joints 3"]  # metres


def forward_kinematics(
    rotmats: Float[Tensor, "*batch joints 3 3"],  # child axes in the parent's frame
    rest_joints: Float[Tensor, "*batch joints 3"],  # metres, rest pose
    skeleton: Skeleton,
) -> RigidTransforms:
    """World transform of every joint; the root turns about its own rest position.

    Source: Loper et al. 2015 (SMPL), eq. 3-4. The joints of one depth share one multiply, and parents are picked by
    slices fixed by the skeleton, so that no index ever travels to the device.
    """
    local = torch.cat([rotmats, rest_joints.unsqueeze(-1)], -1)  # (*b, joints, 3, 4)
    root, rest = local[..., :1, :, :], rest_joints[..., :1, :]
    placed = [root]
    for level, joints in zip(skeleton.levels[1:], _by_level(local, skeleton)[1:], strict=True):
        parents, rest = _pick(placed[-1], level.parents), _pick(rest.unsqueeze(-1), level.parents).squeeze(-1)
        turn, origin = parents[..., :3], parents[..., 3:]
        rotation, position = joints[..., :3], joints[..., 3:]
        offset = position - rest.unsqueeze(-1)
        moved = turn @ torch.cat([rotation, offset], -1)
        placed.append(torch.cat([moved[..., :3], moved[..., 3:] + origin], -1))
        rest = position.squeeze(-1)
    world = _by_joint(placed, skeleton)
    return RigidTransforms(world[..., :3], world[..., 3])


def _by_level(values: Tensor, skeleton: Skeleton) -> list[Tensor]:
    """Split (*b, joints, 3, n) into one tensor for each depth."""
    if skeleton.is_level_order:
        return list(values.split([len(level.joints) for level in skeleton.levels], -3))
    single = values.unbind(-3)
    return [torch.stack([single[j] for j in level.joints], -3) for level in skeleton.levels]


def _by_joint(levels: list[Tensor], skeleton: Skeleton) -> Tensor:
    """Join one tensor for each depth into (*b, joints, 3, n) in the skeleton's order."""
    if skeleton.is_level_order:
        return torch.cat(levels, -3)
    single = [joint for level in levels for joint in level.unbind(-3)]
    order = [j for level in skeleton.levels for j in level.joints]
    return torch.stack([single[order.index(j)] for j in range(len(skeleton))], -3)


def _pick(values: Tensor, positions: tuple[int, ...]) -> Tensor:
    """Rows of the joint axis (-3) by position, as slices where positions run on."""
    parts: list[Tensor] = []
    start = 0
    while start < len(positions):
        first, stop = positions[start], start + 1
        if positions[stop : stop + 1] == (first,):  # siblings share a parent
            while stop < len(positions) and positions[stop] == first:
                stop += 1
            parts.append(values[..., first : first + 1, :, :].expand(*values.shape[:-3], stop - start, -1, -1))
        else:
            while stop < len(positions) and positions[stop] == positions[stop - 1] + 1:
                stop += 1
            parts.append(values[..., first : first + stop - start, :, :])
        start = stop
    if len(parts) == 1:
        return parts[0]
    return torch.cat(parts, -3)
