"""Captured motion on the skeleton of its files, before it is retargeted to an SMPL body."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True, eq=False)
class SourceSkeleton:
    """Bones at rest, root first and every parent before its children; y is up and the person faces +z.

    A bone starts where its parent ends. At rest no bone is rotated, so a bone's rotation is the one from rest to pose.
    """

    name: str  # of the file, for messages
    names: tuple[str, ...]  # names[0] is "root", a point
    parents: tuple[int, ...]  # parents[0] is -1
    directions: Float[np.ndarray, "bones 3"]  # unit length, at rest; the root's is zero
    lengths: Float[np.ndarray, "bones"]  # metres
    axes: Float[np.ndarray, "bones 3 3"]  # columns are the axes that the bone's angles rotate about, at rest

    def index(self, bone: str) -> int:
        """Position of a bone in every array; ValueError where there is none."""
        return self.names.index(bone)


@dataclass(frozen=True, eq=False)
class SourceMotion:
    """A motion of a `SourceSkeleton`, y up."""

    root_translation: Float[np.ndarray, "frames 3"]  # metres
    rotations: Float[np.ndarray, "frames bones 3 3"]  # from rest, in the parent's frame; the root's in the world's
    fps: float | None = None  # frames a second, where the file says it

    def __len__(self) -> int:
        return len(self.root_translation)


def world_rotations(skeleton: SourceSkeleton, motion: SourceMotion) -> Float[np.ndarray, "frames bones 3 3"]:
    """World rotation of every bone from rest to pose, y up."""
    world = motion.rotations.copy()
    for bone, parent in enumerate(skeleton.parents[1:], 1):
        world[:, bone] = world[:, parent] @ motion.rotations[:, bone]
    return world


def world_joints(skeleton: SourceSkeleton, motion: SourceMotion) -> Float[np.ndarray, "frames bones 3"]:
    """World position of every bone's end, and of the root itself, metres, y up."""
    along = (skeleton.directions * skeleton.lengths[:, None])[..., None]
    joints = (world_rotations(skeleton, motion) @ along)[..., 0]
    joints[:, 0] = motion.root_translation
    for bone, parent in enumerate(skeleton.parents[1:], 1):
        joints[:, bone] += joints[:, parent]
    return joints
