"""A body's state in motion, its vector forms, and the canonical frame that a transition is told in."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float
from torch import Tensor

from .errors import SettingError
from .rotations import rotmat_to_rotvec, rotvec_to_rotmat


@dataclass(frozen=True, eq=False)
class MotionState:
    """Where a body is and how it moves: metres, metres a second, radians a second; z up."""

    trans: Float[Tensor, "*batch 3"]
    trans_vel: Float[Tensor, "*batch 3"]
    root_orient: Float[Tensor, "*batch 3 3"]  # body to world
    root_orient_vel: Float[Tensor, "*batch 3"]  # angular velocity, world axes
    pose_body: Float[Tensor, "*batch 21 3 3"]  # child in parent's frame
    joints: Float[Tensor, "*batch 22 3"]
    joints_vel: Float[Tensor, "*batch 22 3"]

    @property
    def batch_shape(self) -> torch.Size:
        """The leading shape."""
        return self.trans.shape[:-1]

    @property
    def rotmats(self) -> Float[Tensor, "*batch 22 3 3"]:
        """Root and body rotations together, as a body model takes them."""
        return torch.cat([self.root_orient.unsqueeze(-3), self.pose_body], -3)

    def map(self, change: Callable[[Tensor], Tensor]) -> "MotionState":
        """The state with every tensor replaced by `change` of it, e.g. `state.map(lambda x: x[:, 0])`."""
        return type(self)(*(change(getattr(self, field.name)) for field in fields(self)))

    @classmethod
    def stack(cls, states: "Sequence[MotionState]", axis: int) -> "MotionState":
        """One state out of many, along a new leading axis."""
        return cls(*(torch.stack([getattr(s, field.name) for s in states], axis) for field in fields(cls)))

    def to_vector(self, rotations: str = "rotmat") -> Float[Tensor, "*batch D"]:
        """One row for each state: 339 numbers with "rotmat" (row-major), the papers' 207 with "rotvec"."""
        _width(rotations)
        batch, root, body = self.batch_shape, self.root_orient, self.pose_body
        if rotations == "rotvec":
            root, body = rotmat_to_rotvec(root), rotmat_to_rotvec(body)
        parts = (self.trans, self.trans_vel, root, self.root_orient_vel, body, self.joints, self.joints_vel)
        # Sizes are given, not -1, so that a batch of none packs too.
        return torch.cat([part.reshape(*batch, part.shape[len(batch) :].numel()) for part in parts], -1)

    @classmethod
    def from_vector(cls, vector: Float[Tensor, "*batch D"], rotations: str = "rotmat") -> "MotionState":
        """The state of a row made by `to_vector`."""
        width = _width(rotations)
        sizes = (3, 3, width, 3, 21 * width, 66, 66)
        if vector.shape[-1] != sum(sizes):
            raise SettingError(f'a "{rotations}" state has {sum(sizes)} numbers; got {vector.shape[-1]}.')
        trans, trans_vel, root, root_vel, body, joints, joints_vel = vector.split(sizes, -1)
        turns = torch.cat([root, body], -1).unflatten(-1, (22, width))
        turns = rotvec_to_rotmat(turns) if rotations == "rotvec" else turns.unflatten(-1, (3, 3))
        root, body = turns[..., 0, :, :], turns[..., 1:, :, :]
        joints, joints_vel = joints.unflatten(-1, (22, 3)), joints_vel.unflatten(-1, (22, 3))
        return cls(trans, trans_vel, root, root_vel, body, joints, joints_vel)


@dataclass(frozen=True, eq=False)
class CanonicalFrame:
    """A frame on the floor below a body, x along the body's right.

    `trans` moves by minus `origin` and turns by `turn` about the origin; joints turn about `pivot`, the root joint's
    xy offset from trans, which therefore stays as it is.
    """

    turn: Float[Tensor, "*batch 3 3"]  # world to canonical, about z
    origin: Float[Tensor, "*batch 3"]  # metres, z = 0
    pivot: Float[Tensor, "*batch 3"]  # metres, z = 0

    @classmethod
    def of(cls, state: MotionState, pivot: Float[Tensor, "*batch 3"] | None = None) -> "CanonicalFrame":
        """The frame of a state by its own heading, with its own pivot or one that is given."""
        origin = _on_floor(state.trans)
        if pivot is None:
            pivot = _on_floor(state.joints[..., 0, :] - state.trans)
        return cls(heading_turn(state.root_orient), origin, pivot)

    def map(self, change: Callable[[Tensor], Tensor]) -> "CanonicalFrame":
        """The frame with every tensor replaced by `change` of it."""
        return type(self)(change(self.turn), change(self.origin), change(self.pivot))

    def enter(self, state: MotionState) -> MotionState:
        """A world state seen from this frame, in float32 under any autocast; leading shapes broadcast."""
        with torch.autocast(self.turn.device.type, enabled=False):
            shift, pivot = self.origin + self.pivot, self.pivot.unsqueeze(-2)
            return MotionState(
                _turned(self.turn, state.trans - self.origin),
                _turned(self.turn, state.trans_vel),
                self.turn @ state.root_orient,
                _turned(self.turn, state.root_orient_vel),
                state.pose_body,
                _all_turned(self.turn, state.joints - shift.unsqueeze(-2)) + pivot,
                _all_turned(self.turn, state.joints_vel),
            )

    def leave(self, state: MotionState) -> MotionState:
        """A state of this frame seen from the world: the inverse of `enter`."""
        with torch.autocast(self.turn.device.type, enabled=False):
            back, shift, pivot = self.turn.mT, self.origin + self.pivot, self.pivot.unsqueeze(-2)
            return MotionState(
                _turned(back, state.trans) + self.origin,
                _turned(back, state.trans_vel),
                back @ state.root_orient,
                _turned(back, state.root_orient_vel),
                state.pose_body,
                _all_turned(back, state.joints - pivot) + shift.unsqueeze(-2),
                _all_turned(back, state.joints_vel),
            )


def heading_turn(root_orient: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Turn about z after which the body's right (minus its x axis) points along +x; identity where it points up.

    The sine and cosine are those of atan2 of the right's xy, taken as its unit vector: exact at every heading.
    """
    left = root_orient[..., :2, 0]
    length = torch.linalg.vector_norm(left, dim=-1, keepdim=True)
    up = length == 0
    away = left / length.masked_fill(up, 1)  # minus cosine and sine
    (cosine, sine), minus_sine = away.neg().unbind(-1), away[..., 1]
    cosine = cosine.masked_fill(up.squeeze(-1), 1)
    zero, one = torch.zeros_like(cosine), torch.ones_like(cosine)
    return torch.stack([cosine, sine, zero, minus_sine, cosine, zero, zero, zero, one], -1).unflatten(-1, (3, 3))


def _on_floor(position: Tensor) -> Tensor:
    return torch.cat([position[..., :2], torch.zeros_like(position[..., 2:])], -1)


def _turned(turn: Tensor, vector: Tensor) -> Tensor:
    return (turn @ vector.unsqueeze(-1)).squeeze(-1)


def _all_turned(turn: Tensor, vectors: Tensor) -> Tensor:
    return vectors @ turn.mT


def _width(rotations: str) -> int:
    try:
        return {"rotmat": 9, "rotvec": 3}[rotations]
    except KeyError:
        raise SettingError(f'rotations: "{rotations}" is neither "rotmat" nor "rotvec".') from None
