"""A body's state in motion, its vector forms, and the canonical frame that transitions are expressed in."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float
from torch import Tensor

from .errors import SettingError
from .rotations import rotmat_to_rotvec, rotvec_to_rotmat


@dataclass(frozen=True, eq=False)
class MotionState:
    """Where a body is and how it moves: metres, metres per second, radians per second; z up."""

    trans: Float[Tensor, "*batch 3"]
    trans_vel: Float[Tensor, "*batch 3"]
    root_orient: Float[Tensor, "*batch 3 3"]  # body to world
    root_orient_vel: Float[Tensor, "*batch 3"]  # angular velocity, world axes
    pose_body: Float[Tensor, "*batch 21 3 3"]  # child axes in the parent's frame
    joints: Float[Tensor, "*batch 22 3"]
    joints_vel: Float[Tensor, "*batch 22 3"]

    @property
    def batch_shape(self) -> torch.Size:
        """The leading shape, of `trans` without its last axis."""
        return self.trans.shape[:-1]

    @property
    def rotmats(self) -> Float[Tensor, "*batch 22 3 3"]:
        """Root and body rotations together, as `BodyModel` takes them."""
        return torch.cat([self.root_orient.unsqueeze(-3), self.pose_body], -3)

    def map(self, change: Callable[[Tensor], Tensor]) -> "MotionState":
        """The state with every tensor replaced by `change` of it, e.g. `state.map(lambda x: x[:, 0])`."""
        return type(self)(*(change(getattr(self, field.name)) for field in fields(self)))

    @classmethod
    def stack(cls, states: "Sequence[MotionState]", axis: int) -> "MotionState":
        """One state out of many, along a new leading axis."""
        return cls(*(torch.stack([getattr(s, field.name) for s in states], axis) for field in fields(cls)))

    def to_vector(self, rotations: str = "rotmat") -> Float[Tensor, "*batch D"]:
        """One vector for each state: 339 numbers with "rotmat" (row-major), the paper's 207 with "rotvec" (radians).

        Raises SettingError for another form.
        """
        _width(rotations)
        batch, root, body = self.batch_shape, self.root_orient, self.pose_body
        if rotations == "rotvec":
            root, body = rotmat_to_rotvec(root), rotmat_to_rotvec(body)
        parts = (self.trans, self.trans_vel, root, self.root_orient_vel, body, self.joints, self.joints_vel)
        # Sizes instead of -1, so that an empty batch works too.
        return torch.cat([part.reshape(*batch, part.shape[len(batch) :].numel()) for part in parts], -1)

    @classmethod
    def from_vector(cls, vector: Float[Tensor, "*batch D"], rotations: str = "rotmat") -> "MotionState":
        """The inverse of `to_vector`. Raises SettingError for another form or size."""
        width = _width(rotations)
        sizes = (3, 3, width, 3, 21 * width, 66, 66)
        if vector.shape[-1] != sum(sizes):
            raise SettingError(f'a "{rotations}" state has {sum(sizes)} numbers; got {vector.shape[-1]}.')
        trans, trans_vel, root, root_vel, body, joints, joints_vel = vector.split(sizes, -1)
        rotmats = torch.cat([root, body], -1).unflatten(-1, (22, width))
        rotmats = rotvec_to_rotmat(rotmats) if rotations == "rotvec" else rotmats.unflatten(-1, (3, 3))
        root, body = rotmats[..., 0, :, :], rotmats[..., 1:, :, :]
        joints, joints_vel = joints.unflatten(-1, (22, 3)), joints_vel.unflatten(-1, (22, 3))
        return cls(trans, trans_vel, root, root_vel, body, joints, joints_vel)


@dataclass(frozen=True, eq=False)
class CanonicalFrame:
    """A frame on the floor below a body, x along the body's right.

    `trans` is shifted by minus `origin` and rotated by `rotmat`; joints are rotated about `pivot`, the root joint's xy
    offset from trans, which therefore does not change. Source: the published code of Rempe et al. 2021.
    """

    rotmat: Float[Tensor, "*batch 3 3"]  # world to canonical, about z
    origin: Float[Tensor, "*batch 3"]  # metres, z = 0
    pivot: Float[Tensor, "*batch 3"]  # metres, z = 0

    @classmethod
    def of(cls, state: MotionState, pivot: Float[Tensor, "*batch 3"] | None = None) -> "CanonicalFrame":
        """The frame below a state, along its heading; `pivot` replaces the state's."""
        origin = _project_to_floor(state.trans)
        if pivot is None:
            pivot = _project_to_floor(state.joints[..., 0, :] - state.trans)
        return cls(heading_rotmat(state.root_orient), origin, pivot)

    def map(self, change: Callable[[Tensor], Tensor]) -> "CanonicalFrame":
        """The frame with every tensor replaced by `change` of it."""
        return type(self)(change(self.rotmat), change(self.origin), change(self.pivot))

    def world_to_canonical(self, state: MotionState) -> MotionState:
        """A world state in this frame, in float32 under any autocast; leading shapes broadcast."""
        with torch.autocast(self.rotmat.device.type, enabled=False):
            shift, pivot = self.origin + self.pivot, self.pivot.unsqueeze(-2)
            return MotionState(
                _rotate(self.rotmat, state.trans - self.origin),
                _rotate(self.rotmat, state.trans_vel),
                self.rotmat @ state.root_orient,
                _rotate(self.rotmat, state.root_orient_vel),
                state.pose_body,
                _rotate_all(self.rotmat, state.joints - shift.unsqueeze(-2)) + pivot,
                _rotate_all(self.rotmat, state.joints_vel),
            )

    def canonical_to_world(self, state: MotionState) -> MotionState:
        """A state of this frame in the world: the inverse of `world_to_canonical`."""
        with torch.autocast(self.rotmat.device.type, enabled=False):
            back, shift, pivot = self.rotmat.mT, self.origin + self.pivot, self.pivot.unsqueeze(-2)
            return MotionState(
                _rotate(back, state.trans) + self.origin,
                _rotate(back, state.trans_vel),
                back @ state.root_orient,
                _rotate(back, state.root_orient_vel),
                state.pose_body,
                _rotate_all(back, state.joints - pivot) + shift.unsqueeze(-2),
                _rotate_all(back, state.joints_vel),
            )


def heading_rotmat(root_orient: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotation about z that aligns the body's right (minus its x axis) with +x; identity where its right is vertical.

    Sine and cosine are the components of the right's unit vector in xy, without an angle: exact at every heading.
    """
    left = root_orient[..., :2, 0]
    length = torch.linalg.vector_norm(left, dim=-1, keepdim=True)
    vertical = length == 0
    unit = left / length.masked_fill(vertical, 1)  # minus cosine and sine
    (cosine, sine), minus_sine = unit.neg().unbind(-1), unit[..., 1]
    cosine = cosine.masked_fill(vertical.squeeze(-1), 1)
    zero, one = torch.zeros_like(cosine), torch.ones_like(cosine)
    return torch.stack([cosine, sine, zero, minus_sine, cosine, zero, zero, zero, one], -1).unflatten(-1, (3, 3))


def _project_to_floor(position: Tensor) -> Tensor:
    return torch.cat([position[..., :2], torch.zeros_like(position[..., 2:])], -1)


def _rotate(rotmat: Tensor, vector: Tensor) -> Tensor:
    return (rotmat @ vector.unsqueeze(-1)).squeeze(-1)


def _rotate_all(rotmat: Tensor, vectors: Tensor) -> Tensor:
    return vectors @ rotmat.mT


def _width(rotations: str) -> int:
    try:
        return {"rotmat": 9, "rotvec": 3}[rotations]
    except KeyError:
        raise SettingError(f'rotations: "{rotations}" is neither "rotmat" nor "rotvec".') from None
