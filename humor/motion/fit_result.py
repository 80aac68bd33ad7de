"""What a stage of fitting leaves, and the same motion as the terms look at it."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from ..body import BodyModel
from ..data.processing import TARGET_FPS, TOE_HEIGHT, angular_velocity, velocity
from ..rotations import rotvec_to_rotmat
from ..skeleton import BODY_NAMES, NUM_VERTICES
from ..state import MotionState
from .fit_terms import FitState, PriorSteps
from .observations import Observations

FLOOR_SHARE = 0.1  # of frames in which the lower foot is on the floor, at least
NECK = BODY_NAMES.index("neck")
ANKLES, FEET = ([BODY_NAMES.index(f"{side}_{part}") for side in ("left", "right")] for part in ("ankle", "foot"))
SURFACE_STRIDE = 8  # every so many vertices stand for the surface that points are observed of: 4 cm apart


@dataclass(frozen=True, eq=False)
class FitResult:
    """Motions as a stage leaves them, in the world of the observations."""

    rotmats: Float[Tensor, "*batch frames 22 3 3"]
    trans: Float[Tensor, "*batch frames 3"]  # metres
    betas: Float[Tensor, "*batch 16"]
    joints: Float[Tensor, "*batch frames 22 3"]  # metres
    floor: Float[Tensor, "*batch 3"]  # tilt about x and y, radians, and height, metres
    contacts: Float[Tensor, "*batch frames 9"] | None = None  # probabilities, of a stage that knows them

    def state(self) -> MotionState:
        """The motion with velocities by differences, extrapolated linearly at both ends."""
        time, fps = self.betas.dim() - 1, float(TARGET_FPS)
        trans, joints, root = (x.movedim(time, 0) for x in (self.trans, self.joints, self.rotmats[..., 0, :, :]))
        trans_vel, joints_vel = (velocity(_extrapolated(x), fps) for x in (trans, joints))
        root = torch.cat([root[:1] @ root[1:2].mT @ root[:1], root, root[-1:] @ root[-2:-1].mT @ root[-1:]])
        trans_vel, spin, joints_vel = (x.movedim(0, time) for x in (trans_vel, angular_velocity(root, fps), joints_vel))
        root, body = self.rotmats[..., 0, :, :], self.rotmats[..., 1:, :, :]
        return MotionState(self.trans, trans_vel, root, spin, body, self.joints, joints_vel)

    def detach(self) -> "FitResult":
        """The same without gradients."""
        return replace(self, **{name: x.detach() for name, x in vars(self).items() if x is not None})


def pose_motion(body: BodyModel, rotmats: Tensor, trans: Tensor, betas: Tensor) -> FitResult:
    """Pose the body in every frame, over a floor at z = 0."""
    joints = body(rotmats, betas.unsqueeze(-2).expand(*trans.shape[:-1], -1), trans).joints
    return FitResult(rotmats, trans, betas, joints, trans.new_zeros(*betas.shape[:-1], 3))


def state_for_terms(
    body: BodyModel,
    observed: Observations,
    posed: FitResult,
    floor: Float[Tensor, "*batch 3"] | None = None,
    steps: PriorSteps | None = None,
) -> FitState:
    """What the terms look at: a motion over a floor at z = 0, which is at `floor` in the world of the observations."""
    floor = posed.floor if floor is None else floor
    kinds = {part.kind for part in observed.parts}

    def place(vertices: str | list[int]) -> Tensor:
        betas = posed.betas.unsqueeze(-2).expand(*posed.trans.shape[:-1], -1)
        placed = body(posed.rotmats, betas, posed.trans, vertices=vertices).vertices
        assert placed is not None
        return place_on_floor(placed, floor)

    return FitState(
        posed.rotmats,
        posed.joints,
        place_on_floor(posed.joints, floor),
        body.rest_joints(posed.betas),
        posed.betas,
        floor,
        observed,
        steps,
        place("keypoints") if "keypoints" in kinds else None,
        place(list(range(0, NUM_VERTICES, SURFACE_STRIDE))) if "points" in kinds else None,
    )


def place_on_floor(
    points: Float[Tensor, "*batch frames some 3"], floor: Float[Tensor, "*batch 3"]
) -> Float[Tensor, "*batch frames some 3"]:
    """Move points over a floor at z = 0 to where that floor is in the world."""
    up = torch.cat([torch.zeros_like(floor[..., :2]), floor[..., 2:]], -1)
    return points @ _tilt(floor).mT.unsqueeze(-3) + up[..., None, None, :]


def remove_floor(
    points: Float[Tensor, "*batch frames some 3"], floor: Float[Tensor, "*batch 3"]
) -> Float[Tensor, "*batch frames some 3"]:
    """Move points over a floor in the world to where the floor is at z = 0: the inverse of `place_on_floor`."""
    up = torch.cat([torch.zeros_like(floor[..., :2]), floor[..., 2:]], -1)
    return (points - up[..., None, None, :]) @ _tilt(floor).unsqueeze(-3)


def to_world(
    body: BodyModel, posed: FitResult, floor: Float[Tensor, "*batch 3"], contacts: Tensor | None = None
) -> FitResult:
    """Move a motion over a floor at z = 0 to where that floor is in the world, about the root joint."""
    root = body.rest_joints(posed.betas)[..., None, 0, :]
    tilted = _tilt(floor)[..., None, None, :, :] @ posed.rotmats[..., :1, :, :]
    rotmats = torch.cat([tilted, posed.rotmats[..., 1:, :, :]], -3)
    trans = place_on_floor((posed.trans + root).unsqueeze(-2), floor).squeeze(-2) - root
    return FitResult(rotmats, trans, posed.betas, place_on_floor(posed.joints, floor), floor, contacts)


def stand_on_floor(body: BodyModel, posed: FitResult, floor: Float[Tensor, "*batch 3"]) -> FitResult:
    """Move a motion over a floor in the world to where that floor is at z = 0: the inverse of `to_world`."""
    root = body.rest_joints(posed.betas)[..., None, 0, :]
    turned = _tilt(floor).mT[..., None, None, :, :] @ posed.rotmats[..., :1, :, :]
    rotmats = torch.cat([turned, posed.rotmats[..., 1:, :, :]], -3)
    trans = remove_floor((posed.trans + root).unsqueeze(-2), floor).squeeze(-2) - root
    return replace(posed, rotmats=rotmats, trans=trans, joints=remove_floor(posed.joints, floor), floor=floor)


def estimate_floor(posed: FitResult) -> Float[Tensor, "*batch 3"]:
    """The floor on which a motion would be upright in the mean, with the lower foot on it now and then."""
    neck, ankles = posed.joints[..., NECK, :], posed.joints[..., ANKLES, :].mean(-2)
    up = normalize((neck - ankles).mean(-2), dim=-1)
    axis = normalize(torch.stack([-up[..., 1], up[..., 0]], -1), dim=-1)
    tilt = axis * torch.acos(up[..., 2:].clamp(-1, 1))
    level = torch.cat([tilt, torch.zeros_like(up[..., 2:])], -1)
    lowest = remove_floor(posed.joints, level)[..., FEET, 2].amin(-1).quantile(FLOOR_SHARE, dim=-1)
    return torch.cat([tilt, (lowest / up[..., 2] - TOE_HEIGHT / 2).unsqueeze(-1)], -1)


def _tilt(floor: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    return rotvec_to_rotmat(torch.cat([floor[..., :2], torch.zeros_like(floor[..., :1])], -1))


def _extrapolated(x: Tensor) -> Tensor:
    """A series with one more element at each end, extrapolated linearly."""
    return torch.cat([2 * x[:1] - x[1:2], x, 2 * x[-1:] - x[-2:-1]])
