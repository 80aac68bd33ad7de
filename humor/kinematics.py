"""Forward kinematics: one batched product for each group of joints at one depth of the tree."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from .errors import SettingError
from .skeleton import Skeleton
from .triton_kernels import import_kernels

KINEMATICS = ("operators", "triton")  # how joints are placed


@dataclass(frozen=True, eq=False)
class RigidTransforms:
    """Rotation and translation of every joint, from the joint's frame to the world."""

    rotmats: Float[Tensor, "*batch joints 3 3"]
    translations: Float[Tensor, "*batch joints 3"]  # metres


def forward_kinematics(
    rotmats: Float[Tensor, "*batch joints 3 3"],  # child axes in the parent's frame
    rest_joints: Float[Tensor, "*batch joints 3"],  # metres, rest pose
    skeleton: Skeleton,
) -> RigidTransforms:
    """World transform of every joint; the root turns about its own rest position.

    Source: Loper et al. 2015 (SMPL), eq. 3-4.
    """
    batch = rotmats.shape[:-3]
    rest = rest_joints.reshape(batch.numel(), len(skeleton), 3).permute(2, 1, 0)
    offsets = torch.cat([rest[:, :1], rest[:, 1:] - _pick(rest, skeleton.parent_slices)], 1)
    world = place_joints(rotmats.reshape(batch.numel(), len(skeleton), 3, 3), offsets, skeleton)
    world = world.permute(3, 2, 0, 1).reshape(*batch, len(skeleton), 3, 4)
    return RigidTransforms(world[..., :3], world[..., 3])


def place_joints(
    rotmats: Float[Tensor, "N joints 3 3"],
    offsets: Float[Tensor, "3 joints N"],  # metres from the parent, rest pose; the root's from the origin
    skeleton: Skeleton,
) -> Float[Tensor, "3 4 joints N"]:
    """[rotation | position in metres] of every joint in the world, with the batch as the last axis.

    3x4 matrices are too small for a matrix multiply to be fast. With the batch last, one element of all matrices of a
    group is contiguous in memory, and a group is one multiply and one sum over such runs. Parents are selected by
    slices that the skeleton fixes, so that no index is copied to the device.
    """
    bottom = torch.eye(4, dtype=rotmats.dtype, device=rotmats.device)[3:, :, None, None]  # the fourth row
    local = torch.cat([rotmats.permute(2, 3, 1, 0), offsets.unsqueeze(1)], 1)
    local = torch.cat([local, bottom.expand(-1, -1, *offsets.shape[1:])])
    root, *others = _pick(local, skeleton.by_group).split(skeleton.group_sizes, 2)
    placed = [root[:3]]
    for group, children in zip(skeleton.groups, others, strict=True):
        parents = placed[group.parent]
        if group.count < parents.shape[2]:
            parents = parents.narrow(2, group.first, group.count)
        placed.append((parents.unsqueeze(2) * children).sum(1))
    return _pick(torch.cat(placed, 2), skeleton.by_joint)


def joint_placer(kinematics: str) -> Callable[[Tensor, Tensor, Skeleton], Tensor]:
    """`place_joints`, or with "triton" the same as one kernel for a GPU, and one for its gradient.

    Raises SettingError for another choice, and without triton.
    """
    if kinematics not in KINEMATICS:
        raise SettingError(f'kinematics "{kinematics}" is not one of {", ".join(KINEMATICS)}.')
    if kinematics == "operators":
        return place_joints
    kernels = import_kernels("triton_kinematics", 'kinematics "triton"', '"operators"')
    return kernels.place_joints


def _pick(values: Tensor, slices: tuple[slice, ...]) -> Tensor:
    """Some of the joint axis (-2)."""
    parts = [values[..., chosen, :] for chosen in slices]
    return parts[0] if len(parts) == 1 else torch.cat(parts, -2)
