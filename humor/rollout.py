"""The state that a rollout carries from step to step, arranged so that a step needs few operators.

A rollout maps each prediction to the world and into its own canonical frame. Here the state stays in the canonical
frame of the step before, the frame's place in the world is updated beside it, and all steps are mapped to the world
together at the end.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from .rotations import rotvec_to_rotmat
from .skeleton import NUM_BODY_JOINTS
from .state import CanonicalFrame, MotionState, heading_rotmat

# The vectors that rotate with the frame, K = 47: trans, trans_vel, root_orient_vel, joints, joints_vel.
_SIZES = (1, 1, 1, NUM_BODY_JOINTS, NUM_BODY_JOINTS)
_JOINTS = slice(3, 3 + NUM_BODY_JOINTS)  # of these vectors
_RESIDUALS = (6, 3, 3, 63, 132)  # trans and trans_vel, root rotation, root_orient_vel, body rotations, both joints

# Joints (N, 22, 3) for the rotations (N, 22, 3, 3) and the trans (N, 3) of a rollout's bodies, in any upright frame.
JointInputs = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Pivot:
    """What a rollout's steps share: which vectors move with the frame's origin, and the joints' pivot."""

    moves: Float[Tensor, "K 3"]  # 1 where an element follows the frame's origin: trans and joints, not their z
    offset: Float[Tensor, "N K 3"]  # of the joints' pivot from trans, metres; zero for other vectors


@dataclass(frozen=True, eq=False)
class RolloutState:
    """N bodies in a canonical frame, and where that frame is in the world."""

    vectors: Float[Tensor, "N K 3"]  # without the pivot's offset
    rotmats: Float[Tensor, "N 22 3 3"]
    frame_rotmat: Float[Tensor, "N 3 3"]  # world to canonical
    frame_origin: Float[Tensor, "N 1 3"]  # metres, z = 0

    @classmethod
    def from_world(cls, initial: MotionState) -> "tuple[RolloutState, Pivot]":
        """World states in their own canonical frames, and the pivot that their rollout keeps."""
        frame = CanonicalFrame.of(initial)
        flat = initial.batch_shape.numel()
        local = frame.world_to_canonical(initial)
        local = local.map(lambda x: x.reshape(flat, *x.shape[len(initial.batch_shape) :]))
        moves = torch.ones(sum(_SIZES), 3, dtype=local.trans.dtype, device=local.trans.device)
        moves[:, 2].zero_()
        for velocities in (slice(1, 3), slice(-NUM_BODY_JOINTS, None)):  # rotate with the frame and do not move
            moves[velocities].zero_()
        offset = moves * frame.pivot.reshape(flat, 1, 3)
        offset[:, 0].zero_()
        singles = torch.stack([local.trans, local.trans_vel, local.root_orient_vel], 1)
        vectors = torch.cat([singles, local.joints, local.joints_vel], 1) - offset
        origin = frame.origin.reshape(flat, 1, 3)
        return cls(vectors, local.rotmats, frame.rotmat.reshape(flat, 3, 3), origin), Pivot(moves, offset)

    @property
    def trans(self) -> Float[Tensor, "N 3"]:
        """Each body's trans in its canonical frame, metres."""
        return self.vectors[:, 0]

    def replace_joints(self, joints: Float[Tensor, "N 22 3"], pivot: Pivot) -> "RolloutState":
        """The same state with other joints, metres in its canonical frame."""
        joints = joints.to(self.vectors.dtype) - pivot.offset[:, _JOINTS]
        vectors = torch.cat([self.vectors[:, : _JOINTS.start], joints, self.vectors[:, _JOINTS.stop :]], 1)
        return replace(self, vectors=vectors)

    def to_vector(self, pivot: Pivot) -> Float[Tensor, "N 339"]:
        """The network's input, as `MotionState.to_vector("rotmat")` arranges it."""
        vectors, rotmats = (self.vectors + pivot.offset).flatten(1), self.rotmats.flatten(1)
        return torch.cat([vectors[:, :6], rotmats[:, :9], vectors[:, 6:9], rotmats[:, 9:], vectors[:, 9:]], 1)

    def apply_residuals(self, residuals: Float[Tensor, "N 207"]) -> "RolloutState":
        """The next state, still in this state's frame; rotations are in radians, as rotation vectors."""
        with torch.autocast(residuals.device.type, enabled=False):
            residuals = residuals.to(self.vectors.dtype)
            trans, root, root_vel, body, joints = residuals.split(_RESIDUALS, 1)
            rotations = rotvec_to_rotmat(torch.cat([root, body], 1).unflatten(1, (NUM_BODY_JOINTS, 3)))
            vectors = self.vectors + torch.cat([trans, root_vel, joints], 1).unflatten(1, (sum(_SIZES), 3))
            return RolloutState(vectors, rotations @ self.rotmats, self.frame_rotmat, self.frame_origin)

    def recanonicalize(self, pivot: Pivot) -> "RolloutState":
        """The same state in its own canonical frame."""
        with torch.autocast(self.vectors.device.type, enabled=False):
            rotmat = heading_rotmat(self.rotmats[:, 0])
            origin = self.vectors[:, :1] * pivot.moves[0]
            vectors = torch.addcmul(self.vectors, origin, pivot.moves, value=-1) @ rotmat.mT
            rotmats = torch.cat([(rotmat @ self.rotmats[:, 0]).unsqueeze(1), self.rotmats[:, 1:]], 1)
            world_origin = torch.baddbmm(self.frame_origin, origin, self.frame_rotmat)
            return RolloutState(vectors, rotmats, rotmat @ self.frame_rotmat, world_origin)

    @staticmethod
    def to_world(steps: "list[RolloutState]", pivot: Pivot, batch: torch.Size) -> MotionState:
        """The states of all steps in the world, time after the batch axes."""
        vectors, rotmats, frames, origins = (
            torch.stack([getattr(state, name) for state in steps], 1)
            for name in ("vectors", "rotmats", "frame_rotmat", "frame_origin")
        )
        with torch.autocast(vectors.device.type, enabled=False):
            vectors = vectors @ frames + (origins * pivot.moves + pivot.offset.unsqueeze(1))
            root = frames.mT @ rotmats[:, :, 0]
        vectors, root, body = (x.reshape(*batch, len(steps), *x.shape[2:]) for x in (vectors, root, rotmats[:, :, 1:]))
        trans, trans_vel, root_vel, joints, joints_vel = vectors.split(_SIZES, -2)
        return MotionState(
            trans.squeeze(-2), trans_vel.squeeze(-2), root, root_vel.squeeze(-2), body, joints, joints_vel
        )
