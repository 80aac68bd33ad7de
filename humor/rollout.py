"""The moving part of a rollout: a body packed into two tensors, told anew in its own canonical frame after each step.

A step's frame is found in the frame before, so that nothing has to go through the world: where the frames are in it is
carried along, and all states are brought there together at the end.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from .rotations import rotvec_to_rotmat
from .skeleton import NUM_BODY_JOINTS
from .state import CanonicalFrame, MotionState, heading_turn

# Rows of what turns with the frame: trans, trans_vel, root_orient_vel, joints, joints_vel.
_SIZES = (1, 1, 1, NUM_BODY_JOINTS, NUM_BODY_JOINTS)
_RESIDUALS = (6, 3, 3, 63, 132)  # trans and trans_vel, root rotation, root_orient_vel, body rotations, joints both


@dataclass(frozen=True, eq=False)
class Pivot:
    """What a rollout's steps have in common: made once."""

    moves: Float[Tensor, "rows 3"]  # 1 where an element follows the frame's origin: trans and joints, not their z
    offset: Float[Tensor, "N rows 3"]  # of the joints' pivot from trans, metres; zero in other rows


@dataclass(frozen=True, eq=False)
class Body:
    """States in a canonical frame, and where that frame is in the world."""

    vectors: Float[Tensor, "N rows 3"]  # without the pivot's offset
    rotmats: Float[Tensor, "N 22 3 3"]
    turn: Float[Tensor, "N 3 3"]  # world to canonical
    origin: Float[Tensor, "N 1 3"]  # metres, z = 0

    @classmethod
    def of(cls, initial: MotionState) -> "tuple[Body, Pivot]":
        """States in their own frames. Source of frames and pivot: `CanonicalFrame`."""
        frame = CanonicalFrame.of(initial)
        flat = initial.batch_shape.numel()
        local = frame.enter(initial).map(lambda x: x.reshape(flat, *x.shape[len(initial.batch_shape) :]))
        moves = torch.ones(sum(_SIZES), 3, dtype=local.trans.dtype, device=local.trans.device)
        moves[:, 2].zero_()
        for still in (slice(1, 3), slice(-NUM_BODY_JOINTS, None)):  # velocities only turn
            moves[still].zero_()
        offset = moves * frame.pivot.reshape(flat, 1, 3)
        offset[:, 0].zero_()
        singles = torch.stack([local.trans, local.trans_vel, local.root_orient_vel], 1)
        vectors = torch.cat([singles, local.joints, local.joints_vel], 1) - offset
        origin = frame.origin.reshape(flat, 1, 3)
        return cls(vectors, local.rotmats, frame.turn.reshape(flat, 3, 3), origin), Pivot(moves, offset)

    def seen(self, pivot: Pivot) -> Float[Tensor, "N 339"]:
        """What the network reads: `MotionState.to_vector("rotmat")`."""
        rows, turns = (self.vectors + pivot.offset).flatten(1), self.rotmats.flatten(1)
        return torch.cat([rows[:, :6], turns[:, :9], rows[:, 6:9], turns[:, 9:], rows[:, 9:]], 1)

    def moved(self, residuals: Float[Tensor, "N 207"]) -> "Body":
        """The state after a step, still in the frame before it."""
        with torch.autocast(residuals.device.type, enabled=False):
            residuals = residuals.to(self.vectors.dtype)
            ways, root, root_vel, body, joints = residuals.split(_RESIDUALS, 1)
            turns = rotvec_to_rotmat(torch.cat([root, body], 1).unflatten(1, (NUM_BODY_JOINTS, 3)))
            vectors = self.vectors + torch.cat([ways, root_vel, joints], 1).unflatten(1, (sum(_SIZES), 3))
            return Body(vectors, turns @ self.rotmats, self.turn, self.origin)

    def centred(self, pivot: Pivot) -> "Body":
        """The same state in its own frame."""
        with torch.autocast(self.vectors.device.type, enabled=False):
            turn = heading_turn(self.rotmats[:, 0])
            origin = self.vectors[:, :1] * pivot.moves[0]
            vectors = torch.addcmul(self.vectors, origin, pivot.moves, value=-1) @ turn.mT
            rotmats = torch.cat([(turn @ self.rotmats[:, 0]).unsqueeze(1), self.rotmats[:, 1:]], 1)
            return Body(vectors, rotmats, turn @ self.turn, torch.baddbmm(self.origin, origin, self.turn))

    @staticmethod
    def in_the_world(steps: "list[Body]", pivot: Pivot, batch: torch.Size) -> MotionState:
        """The states of all steps in the world, time after the batch axes."""
        vectors, rotmats, turns, origins = (
            torch.stack([getattr(body, name) for body in steps], 1) for name in ("vectors", "rotmats", "turn", "origin")
        )
        with torch.autocast(vectors.device.type, enabled=False):
            vectors = vectors @ turns + (origins * pivot.moves + pivot.offset.unsqueeze(1))
            root = turns.mT @ rotmats[:, :, 0]
        vectors, root, body = (x.reshape(*batch, len(steps), *x.shape[2:]) for x in (vectors, root, rotmats[:, :, 1:]))
        trans, trans_vel, root_vel, joints, joints_vel = vectors.split(_SIZES, -2)
        return MotionState(
            trans.squeeze(-2), trans_vel.squeeze(-2), root, root_vel.squeeze(-2), body, joints, joints_vel
        )
