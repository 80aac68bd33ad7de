"""What makes a motion likely: a table of small terms, each a negative log-probability up to a constant.

Each term is a sum of squares in units of its standard deviation, so that a weight of 1 takes the deviation at its word;
those of mixtures are log densities. Of several motions of one length, along leading axes, each has its own sum. Source
of the terms: Rempe et al. 2021, section 4; the deviations are ours, in plain units, and so is the term `transitions`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import huber_loss

from ..data.processing import JOINT_HEIGHT, TARGET_FPS
from ..model import Gaussian
from ..rotations import rotvec_to_rotmat
from ..skeleton import BODY_NAMES, BODY_PARENTS, CONTACT_JOINTS
from ..state import MotionState
from .motion_priors import MotionPriors, first_state_vector, pose_vector
from .observations import Observations

OUTLIER = 3.0  # standard deviations beyond which an observation's error counts linearly
POSE_ANGLE = 0.6  # radians: a joint's rotation from the rest pose
ARMS_DOWN = 1.2  # radians from the rest pose, whose arms are stretched out sideways
ANGULAR_SPEED = 3.0  # radians a second: of a joint
SPEED = 1.0  # metres a second: of a joint
ACCELERATION = 10.0  # metres a second squared: of a joint
CONTACT_SPEED = 0.1  # metres a second: of a joint in contact
CONTACT_HEIGHT = 0.02  # metres: of a joint in contact, above where contacts are
PENETRATION = 0.02  # metres: of a joint below the floor
JOINT_DISTANCE = 0.02  # metres: between the network's joints and those of its pose; and between their bones' lengths
FIRST_SPEED = 0.3  # metres a second: between the first state's velocities and how its joints then move
FLOOR_TILT, FLOOR_HEIGHT = 0.03, 0.05  # radians and metres: of a floor that is known
UNKNOWN_TILT, UNKNOWN_HEIGHT = 0.5, 1.0  # radians and metres: of one that is seen by a camera at an unknown place
BISQUARE = 4.6851  # standard deviations beyond which a point of a cloud counts no more
# Root mean square errors of one step of a trained network on motion that it knows, in the units of MotionState.
ONE_STEP = {
    "trans": 0.006, "trans_vel": 0.013, "root_orient": 0.006, "root_orient_vel": 0.02, "pose_body": 0.017,
    "joints": 0.012, "joints_vel": 0.046,
}  # fmt: skip
TRANSITION_FREEDOM = 50.0  # of the distribution of a transition's error, which has heavy tails


@dataclass(frozen=True, eq=False)
class PriorSteps:
    """Every step of a motion as the motion prior sees it, from given latents.

    In a rollout, each step starts from the one before, and `states` is what they come to. Otherwise each starts from
    the motion itself, and `predicted` is where it leads, beside `reached`, where the motion is then.
    """

    contacts: Float[Tensor, "*batch steps 9"]  # logits
    latents: Float[Tensor, "*batch steps 48"]
    prior: Gaussian  # of the latents
    states: MotionState | None = None  # (*batch, frames, ...), the first the initial one
    predicted: MotionState | None = None  # (*batch, steps, ...), in the canonical frame of the state before
    reached: MotionState | None = None  # likewise
    past: MotionState | None = None  # likewise: each state that a step starts from, in its own canonical frame


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
    steps: PriorSteps | None = None  # in the last stage
    world_keypoints: Float[Tensor, "*batch frames 43 3"] | None = None  # metres, where they are observed
    world_surface: Float[Tensor, "*batch frames V 3"] | None = None  # metres: some vertices, likewise
    priors: MotionPriors | None = None  # where they were fitted

    @property
    def time_axis(self) -> int:
        """The axis of frames."""
        return self.betas.dim() - 1

    def total(self, x: Tensor) -> Float[Tensor, "*batch"]:
        """A sum over all elements of each motion."""
        return x.flatten(self.time_axis).sum(-1)


def data(fit: FitState) -> Tensor:
    """The body agrees with the observations."""
    return torch.stack([_data_of(fit, part) for part in fit.observed.parts]).sum(0)


def _data_of(fit: FitState, part: Observations) -> Tensor:
    if part.kind == "points":
        assert fit.world_surface is not None, "the surface is posed where points are observed"
        inside = 1 - (part.distances(fit.world_surface) / BISQUARE).square().clamp(max=1)
        return fit.total(part.confidence * (BISQUARE**2 / 6) * (1 - inside**3))
    points = fit.world_joints if part.kind == "joints" else fit.world_keypoints
    assert points is not None, "keypoints are posed where they are observed"
    residuals = part.residuals(points)
    losses = huber_loss(residuals, torch.zeros_like(residuals), reduction="none", delta=OUTLIER)
    return fit.total(part.confidence.unsqueeze(-1) * losses)


def pose_prior(fit: FitState) -> Tensor:
    """Joints are near those of a body that stands with its arms down: half the squared angle, for small ones."""
    change = fit.rotmats[..., 1:, :, :] - standing_rotmats(fit.rotmats.device)
    return fit.total(change.square()) / (4 * POSE_ANGLE**2)


@cache
def standing_rotmats(device: torch.device) -> Float[Tensor, "21 3 3"]:
    """The rest pose with its arms turned down, by ARMS_DOWN; child axes in the parent's frame."""
    turns = torch.zeros(len(BODY_NAMES), 3, device="cpu")
    for name, sign in (("left_shoulder", -1), ("right_shoulder", 1)):
        turns[BODY_NAMES.index(name), 2] = sign * ARMS_DOWN
    return rotvec_to_rotmat(turns)[1:].to(device)


def pose_mixture(fit: FitState) -> Tensor:
    """Each frame's pose is likely among those of a store."""
    return -fit.total(_priors(fit).poses.log_prob(pose_vector(fit.rotmats[..., 1:, :, :])))


def angular_smoothness(fit: FitState) -> Tensor:
    """Joints turn slowly."""
    change = fit.rotmats[..., 1:, :, :, :] - fit.rotmats[..., :-1, :, :, :]
    return fit.total(change.square()) * (TARGET_FPS / ANGULAR_SPEED) ** 2 / 4


def smooth(fit: FitState) -> Tensor:
    """Joints accelerate little."""
    change = fit.joints[..., 2:, :, :] - 2 * fit.joints[..., 1:-1, :, :] + fit.joints[..., :-2, :, :]
    return 0.5 * fit.total((change * (TARGET_FPS**2 / ACCELERATION)).square())


def speed(fit: FitState) -> Tensor:
    """Joints move little."""
    change = fit.joints[..., 1:, :, :] - fit.joints[..., :-1, :, :]
    return 0.5 * fit.total((change * (TARGET_FPS / SPEED)).square())


def penetration(fit: FitState) -> Tensor:
    """No joint is below the floor, where it is known or fitted."""
    if fit.steps is None and not fit.observed.floor_known:
        return torch.zeros_like(fit.floor[..., 0])
    return 0.5 * fit.total((fit.joints[..., 2].clamp(max=0) / PENETRATION).square())


def shape(fit: FitState) -> Tensor:
    """Bodies are near the mean shape."""
    return 0.5 * fit.total(fit.betas.square())


def floor(fit: FitState) -> Tensor:
    """The floor is level, and near z = 0; loosely, where it is unknown."""
    tilt, height = (FLOOR_TILT, FLOOR_HEIGHT) if fit.observed.floor_known else (UNKNOWN_TILT, UNKNOWN_HEIGHT)
    return 0.5 * (fit.total((fit.floor[..., :2] / tilt).square()) + (fit.floor[..., 2] / height).square())


def latents(fit: FitState) -> Tensor:
    """Each latent is likely under the prior of the state before it."""
    steps = _steps(fit)
    prior = steps.prior
    return 0.5 * fit.total((steps.latents - prior.mean).square() / prior.var + prior.var.log())


def transitions(fit: FitState) -> Tensor:
    """Each frame is where the network leads from the frame before.

    The errors of a step share one scale, which is not known for motion that the network has not seen; so their
    distribution is Student's, and a step that the network cannot explain counts little.
    """
    return fit.total(0.5 * TRANSITION_FREEDOM * torch.log1p(transition_errors(fit) / TRANSITION_FREEDOM))


def transition_errors(fit: FitState) -> Float[Tensor, "*batch steps"]:
    """Squared errors of each step in units of ONE_STEP, summed over the numbers of a state."""
    steps = _steps(fit)
    assert steps.predicted is not None, "a rollout has no transitions to compare"
    assert steps.reached is not None
    return torch.stack(
        [
            ((getattr(steps.predicted, name) - getattr(steps.reached, name)) / deviation)
            .square()
            .flatten(fit.time_axis + 1)
            .sum(-1)
            for name, deviation in ONE_STEP.items()
        ]
    ).sum(0)


def first_state(fit: FitState) -> Tensor:
    """The first state's velocities are those with which its joints then move."""
    states, time = _rolled_out(fit), fit.time_axis
    trans, joints = (
        (velocities.select(time, 0) - (x.select(time, 1) - x.select(time, 0)) * TARGET_FPS) / FIRST_SPEED
        for velocities, x in ((states.trans_vel, states.trans), (states.joints_vel, states.joints))
    )
    return 0.5 * (fit.total(trans.square()) + fit.total(joints.square()))


def first_state_mixture(fit: FitState) -> Tensor:
    """The first state is likely among those of a store."""
    past = _steps(fit).past
    assert past is not None, "steps start from states"
    first = past.map(lambda x: x.select(fit.time_axis, 0))
    return -_priors(fit).first_states.log_prob(first_state_vector(first))


def skeleton(fit: FitState) -> Tensor:
    """The network's joints are where its pose puts them."""
    return 0.5 * fit.total(((_rolled_out(fit).joints - fit.joints) / JOINT_DISTANCE).square())


def bones(fit: FitState) -> Tensor:
    """The network's joints are a bone's length apart."""
    predicted, of_body = (
        torch.linalg.vector_norm(x[..., 1:, :] - _select_joints(x, BODY_PARENTS[1:]), dim=-1)
        for x in (_rolled_out(fit).joints, fit.rest_joints)
    )
    return 0.5 * fit.total(((predicted - of_body.unsqueeze(-2)) / JOINT_DISTANCE).square())


def bone_change(fit: FitState) -> Tensor:
    """The network's joints keep their distances from frame to frame."""
    joints = _rolled_out(fit).joints
    lengths = torch.linalg.vector_norm(joints[..., 1:, :] - _select_joints(joints, BODY_PARENTS[1:]), dim=-1)
    return 0.5 * fit.total(((lengths[..., 1:, :] - lengths[..., :-1, :]) / JOINT_DISTANCE).square())


def contact_speed(fit: FitState) -> Tensor:
    """Joints that the network says are in contact do not slide."""
    joints = _select_joints(fit.joints, CONTACT_JOINTS)
    speed = (joints[..., 1:, :, :] - joints[..., :-1, :, :]) * TARGET_FPS
    return 0.5 * fit.total(_steps(fit).contacts.sigmoid() * (speed / CONTACT_SPEED).square().sum(-1))


def contact_height(fit: FitState) -> Tensor:
    """Joints that the network says are in contact are near the floor; linear beyond the height that contacts have."""
    away = (_select_joints(fit.joints, CONTACT_JOINTS)[..., 1:, :, 2].abs() - JOINT_HEIGHT).clamp(min=0)
    return fit.total(_steps(fit).contacts.sigmoid() * away / CONTACT_HEIGHT)


TERMS: dict[str, Callable[[FitState], Tensor]] = {
    term.__name__: term
    for term in (
        *(data, pose_prior, pose_mixture, angular_smoothness, smooth, speed, penetration, shape, floor, latents),
        *(transitions, first_state, first_state_mixture, skeleton, bones, bone_change, contact_speed, contact_height),
    )
}


def energy(fit: FitState, weights: Mapping[str, float]) -> Float[Tensor, "*batch"]:
    """The weighted sum of the terms that have a weight, of each motion."""
    return torch.stack([weight * TERMS[name](fit) for name, weight in weights.items()]).sum(0)


def _select_joints(x: Float[Tensor, "*batch 22 3"], joints: Sequence[int]) -> Float[Tensor, "*batch some 3"]:
    """Some joints of all. A list as an index would be copied to the device each time, which waits for it."""
    return torch.stack([x[..., joint, :] for joint in joints], -2)


def _steps(fit: FitState) -> PriorSteps:
    assert fit.steps is not None, "terms of the motion prior need its stage"
    return fit.steps


def _priors(fit: FitState) -> MotionPriors:
    assert fit.priors is not None, "terms of mixtures need priors that were fitted"
    return fit.priors


def _rolled_out(fit: FitState) -> MotionState:
    states = _steps(fit).states
    assert states is not None, "these terms need a rollout"
    return states
