"""What makes a motion likely: a table of small terms, each a negative log-probability up to a constant.

Each term is a sum of squares in units of its standard deviation, so that a weight of 1 takes the deviation at its word.
Of several motions of one length, along leading axes, each has its own sum. Source of the terms: Rempe et al. 2021,
section 4; the deviations are ours, in plain units.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import huber_loss

from ..data.processing import JOINT_HEIGHT, TARGET_FPS
from ..model import Gaussian
from ..skeleton import BODY_PARENTS, CONTACT_JOINTS
from ..state import MotionState
from .observations import Observations

OUTLIER = 3.0  # standard deviations beyond which an observation's error counts linearly
POSE_ANGLE = 0.6  # radians: a joint's rotation from the rest pose
ANGULAR_SPEED = 3.0  # radians a second: of a joint
ACCELERATION = 10.0  # metres a second squared: of a joint
CONTACT_SPEED = 0.1  # metres a second: of a joint in contact
CONTACT_HEIGHT = 0.02  # metres: of a joint in contact, above where contacts are
PENETRATION = 0.02  # metres: of a joint below the floor
JOINT_DISTANCE = 0.02  # metres: between the network's joints and those of its pose; and between their bones' lengths
FIRST_SPEED = 0.3  # metres a second: between the first state's velocities and how its joints then move
FLOOR_TILT, FLOOR_HEIGHT = 0.03, 0.05  # radians and metres


@dataclass(frozen=True, eq=False)
class PriorRollout:
    """A rollout of the motion prior from given latents, and the distribution it expected them from."""

    states: MotionState  # (*batch, frames, ...), the first the initial one
    contacts: Float[Tensor, "*batch steps 9"]  # logits
    latents: Float[Tensor, "*batch steps 48"]
    prior: Gaussian  # of the latents


@dataclass(frozen=True, eq=False)
class FitState:
    """All that a term may look at: motions over a floor at z = 0, and where they are in the world."""

    rotmats: Float[Tensor, "*batch frames 22 3 3"]
    joints: Float[Tensor, "*batch frames 22 3"]  # metres, of the posed body
    world_joints: Float[Tensor, "*batch frames 22 3"]  # metres, the same in the world that the observations are of
    rest_joints: Float[Tensor, "*batch 22 3"]  # metres
    betas: Float[Tensor, "*batch 16"]
    floor: Float[Tensor, "*batch 3"]  # tilt about x and y, radians, and height, metres, in the world
    observed: Observations
    rollout: PriorRollout | None = None  # in the last stage

    @property
    def time_axis(self) -> int:
        """The axis of frames."""
        return self.betas.dim() - 1

    def total(self, x: Tensor) -> Float[Tensor, "*batch"]:
        """A sum over all elements of each motion."""
        return x.flatten(self.time_axis).sum(-1)


def data(fit: FitState) -> Tensor:
    """The joints agree with the observations."""
    residuals = fit.observed.residuals(fit.world_joints)
    losses = huber_loss(residuals, torch.zeros_like(residuals), reduction="none", delta=OUTLIER)
    return fit.total(fit.observed.confidence.unsqueeze(-1) * losses)


def pose_prior(fit: FitState) -> Tensor:
    """Joints are near the rest pose: half the squared angle, for rotation matrices near the identity."""
    change = fit.rotmats[..., 1:, :, :] - torch.eye(3, device=fit.rotmats.device)
    return fit.total(change.square()) / (4 * POSE_ANGLE**2)


def angular_smoothness(fit: FitState) -> Tensor:
    """Joints turn slowly."""
    change = fit.rotmats[..., 1:, :, :, :] - fit.rotmats[..., :-1, :, :, :]
    return fit.total(change.square()) * (TARGET_FPS / ANGULAR_SPEED) ** 2 / 4


def smooth(fit: FitState) -> Tensor:
    """Joints accelerate little."""
    change = fit.joints[..., 2:, :, :] - 2 * fit.joints[..., 1:-1, :, :] + fit.joints[..., :-2, :, :]
    return 0.5 * fit.total((change * (TARGET_FPS**2 / ACCELERATION)).square())


def penetration(fit: FitState) -> Tensor:
    """No joint is below the floor."""
    return 0.5 * fit.total((fit.joints[..., 2].clamp(max=0) / PENETRATION).square())


def shape(fit: FitState) -> Tensor:
    """Bodies are near the mean shape."""
    return 0.5 * fit.total(fit.betas.square())


def floor(fit: FitState) -> Tensor:
    """The floor is level, and near z = 0."""
    return 0.5 * (fit.total((fit.floor[..., :2] / FLOOR_TILT).square()) + (fit.floor[..., 2] / FLOOR_HEIGHT).square())


def latents(fit: FitState) -> Tensor:
    """Each latent is likely under the prior of the state before it."""
    rollout = _rollout(fit)
    prior = rollout.prior
    return 0.5 * fit.total((rollout.latents - prior.mean).square() / prior.var + prior.var.log())


def first_state(fit: FitState) -> Tensor:
    """The first state's velocities are those with which its joints then move."""
    states, time = _rollout(fit).states, fit.time_axis
    trans, joints = (
        (velocities.select(time, 0) - (x.select(time, 1) - x.select(time, 0)) * TARGET_FPS) / FIRST_SPEED
        for velocities, x in ((states.trans_vel, states.trans), (states.joints_vel, states.joints))
    )
    return 0.5 * (fit.total(trans.square()) + fit.total(joints.square()))


def skeleton(fit: FitState) -> Tensor:
    """The network's joints are where its pose puts them."""
    return 0.5 * fit.total(((_rollout(fit).states.joints - fit.joints) / JOINT_DISTANCE).square())


def bones(fit: FitState) -> Tensor:
    """The network's joints are a bone's length apart."""
    predicted, of_body = (
        torch.linalg.vector_norm(x[..., 1:, :] - _select_joints(x, BODY_PARENTS[1:]), dim=-1)
        for x in (_rollout(fit).states.joints, fit.rest_joints)
    )
    return 0.5 * fit.total(((predicted - of_body.unsqueeze(-2)) / JOINT_DISTANCE).square())


def contact_speed(fit: FitState) -> Tensor:
    """Joints that the network says are in contact do not slide."""
    joints = _select_joints(fit.joints, CONTACT_JOINTS)
    speed = (joints[..., 1:, :, :] - joints[..., :-1, :, :]) * TARGET_FPS
    return 0.5 * fit.total(_rollout(fit).contacts.sigmoid() * (speed / CONTACT_SPEED).square().sum(-1))


def contact_height(fit: FitState) -> Tensor:
    """Joints that the network says are in contact are no higher than contacts are."""
    height = (_select_joints(fit.joints, CONTACT_JOINTS)[..., 1:, :, 2] - JOINT_HEIGHT).clamp(min=0)
    return 0.5 * fit.total(_rollout(fit).contacts.sigmoid() * (height / CONTACT_HEIGHT).square())


TERMS: dict[str, Callable[[FitState], Tensor]] = {
    term.__name__: term
    for term in (
        *(data, pose_prior, angular_smoothness, smooth, penetration, shape, floor),
        *(latents, first_state, skeleton, bones, contact_speed, contact_height),
    )
}


def energy(fit: FitState, weights: Mapping[str, float]) -> Float[Tensor, "*batch"]:
    """The weighted sum of the terms that have a weight, of each motion."""
    return torch.stack([weight * TERMS[name](fit) for name, weight in weights.items()]).sum(0)


def _select_joints(x: Float[Tensor, "*batch 22 3"], joints: Sequence[int]) -> Float[Tensor, "*batch some 3"]:
    """Some joints of all. A list as an index would be copied to the device each time, which waits for it."""
    return torch.stack([x[..., joint, :] for joint in joints], -2)


def _rollout(fit: FitState) -> PriorRollout:
    assert fit.rollout is not None, "terms of the motion prior need its stage"
    return fit.rollout
