"""What poses and first states are likely: mixtures of normals, fitted on the motion of a store.

Source: Rempe et al. 2021, section 4, for the mixture over first states. The one over poses stands in for VPoser, the
published network, whose training takes far more poses than a small store holds.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..data.splits import split_of
from ..data.store import MotionStore
from ..errors import MotionError
from ..rotations import rotmat_to_quat
from ..state import CanonicalFrame, MotionState
from .mixtures import NormalMixture, fit_mixture

MOST_FRAMES = 6000  # of a store, evenly spaced: EM on so many takes seconds, and neighbours hardly differ
FIRST_STATE_COMPONENTS = 12  # as published
MOST_POSE_COMPONENTS = 32
FRAMES_PER_COMPONENT = 60  # at least
SHRINKAGE = 20.0  # frames
POSE_NOISE = 0.1  # radians: poses vary so much around those of the store
POSITION_NOISE, VELOCITY_NOISE, SPIN_NOISE = 0.02, 0.2, 0.3  # metres, metres a second, radians a second: likewise


@dataclass(frozen=True, eq=False)
class MotionPriors:
    """Mixtures over poses (63 numbers) and over first states (138), and how many frames they were fitted on."""

    poses: NormalMixture
    first_states: NormalMixture
    frames: int

    def to(self, device: torch.device | str) -> "MotionPriors":
        """The priors in float32 on a device."""
        poses, first = (each.map(lambda x: x.to(device, torch.float32)) for each in (self.poses, self.first_states))
        return MotionPriors(poses, first, self.frames)

    @classmethod
    def fit(cls, store: MotionStore) -> "MotionPriors":
        """Fit both mixtures on frames of a store's clips, always the same ones.

        AMASS's validation and test subsets are left out. Raises MotionError where no frame remains.
        """
        store = store.select(lambda clip: split_of(clip.subset) in (None, "train"))
        states = _spread_frames(store)
        if not states:
            raise MotionError("the store has no training motion to fit priors on; give one that has.")
        poses = torch.cat([pose_vector(state.pose_body) for state in states])
        first = torch.cat([first_state_vector(CanonicalFrame.of(state).world_to_canonical(state)) for state in states])
        some = max(1, len(poses) // FRAMES_PER_COMPONENT)
        noise = torch.tensor([POSITION_NOISE] * 66 + [VELOCITY_NOISE] * 69 + [SPIN_NOISE] * 3)
        return cls(
            fit_mixture(poses, min(some, MOST_POSE_COMPONENTS), POSE_NOISE**2, SHRINKAGE),
            fit_mixture(first, min(some, FIRST_STATE_COMPONENTS), noise.square(), SHRINKAGE),
            len(poses),
        )


def _spread_frames(store: MotionStore) -> list[MotionState]:
    """At most MOST_FRAMES frames of a store, evenly spaced, by clip; no more than one clip is read at once."""
    ends = np.cumsum(store.frames)
    total = int(store.frames.sum())
    chosen = np.linspace(0, total - 1, min(total, MOST_FRAMES)).astype(np.int64)
    states = []
    for clip, (end, count) in enumerate(zip(ends, store.frames, strict=True)):
        frames = torch.from_numpy(chosen[(chosen >= end - count) & (chosen < end)] - (end - count))
        if len(frames):
            states.append(store.states(clip).map(lambda x, frames=frames: x[frames]))  # type: ignore[misc]
    return states


def pose_vector(pose_body: Float[Tensor, "*batch 21 3 3"]) -> Float[Tensor, "*batch 63"]:
    """Each joint's rotation as twice the vector part of its quaternion: 2 sin(angle / 2) times the axis.

    It is the rotation vector for small angles, and smooth and one to one up to a half turn from the rest pose, which no
    joint of a body reaches. The rotation vector's gradient is not defined at rest; matrices and their columns fill a
    surface in a larger space, on which a normal distribution is no density.
    """
    return 2 * rotmat_to_quat(pose_body)[..., 1:].flatten(-2)


def first_state_vector(state: MotionState) -> Float[Tensor, "*batch 138"]:
    """Joints and their velocities, and the root's, of a state in its canonical frame."""
    joints, joints_vel = state.joints.flatten(-2), state.joints_vel.flatten(-2)
    return torch.cat([joints, joints_vel, state.trans_vel, state.root_orient_vel], -1)
