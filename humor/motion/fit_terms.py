"""What makes a motion likely: a table of small terms, each a negative log-probability up to a constant.

All are sums in units of their own spread, so that weights of 1 say "believe it"; of several motions of one length, told
along leading axes, each has its own. Source of what they are: Rempe et al. 2021, section 4; their spreads are ours, in
plain units.
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

OUTLIER = 3.0  # standard deviations beyond which what was seen counts linearly
BEND = 0.6  # radians: a joint's angle from the rest pose
TURN = 3.0  # radians a second: how fast a joint turns
ACCELERATION = 10.0  # metres a second squared
SLIDE = 0.1  # metres a second: speed of a joint in contact
ABOVE = 0.02  # metres: how far a joint in contact is above where contacts are
BELOW = 0.02  # metres: how far a joint is below the floor
OWN_JOINTS = 0.02  # metres between the network's joints and those of its pose; and between their bones' lengths
FIRST_SPEED = 0.3  # metres a second between the first state's velocities and how its joints then move
FLOOR_TILT, FLOOR_HEIGHT = 0.03, 0.05  # radians and metres


@dataclass(frozen=True, eq=False)
class Told:
    """What the motion prior says of motions: the network's states, and where its latents come from."""

    states: MotionState  # (*batch, frames, ...), the first the initial one
    contacts: Float[Tensor, "*batch steps 9"]  # logits
    latents: Float[Tensor, "*batch steps 48"]
    prior: Gaussian  # of the latents


@dataclass(frozen=True, eq=False)
class Guess:
    """All that a term may look at: motions over a floor at z = 0, and where they are in the world."""

    rotmats: Float[Tensor, "*batch frames 22 3 3"]
    joints: Float[Tensor, "*batch frames 22 3"]  # metres, of the posed body
    world: Float[Tensor, "*batch frames 22 3"]  # the same where it was seen from
    rest: Float[Tensor, "*batch 22 3"]  # metres
    betas: Float[Tensor, "*batch 16"]
    floor: Float[Tensor, "*batch 3"]  # tilt about x and y, radians, and height, metres, in the world
    observed: Observations
    told: Told | None = None

    @property
    def time(self) -> int:
        """The axis of frames."""
        return self.betas.dim() - 1

    def total(self, x: Tensor) -> Float[Tensor, "*batch"]:
        """A sum over all that is of one motion."""
        return x.flatten(self.time).sum(-1)


def seen(g: Guess) -> Tensor:
    """How well the joints agree with what was seen."""
    away = g.observed.residuals(g.world)
    lost = huber_loss(away, torch.zeros_like(away), reduction="none", delta=OUTLIER)
    return g.total(g.observed.trust.unsqueeze(-1) * lost)


def bend(g: Guess) -> Tensor:
    """Joints bend little: half the squared angle, of matrices near the identity."""
    away = g.rotmats[..., 1:, :, :] - torch.eye(3, device=g.rotmats.device)
    return g.total(away.square()) / (4 * BEND**2)


def turn(g: Guess) -> Tensor:
    """Joints turn slowly."""
    change = g.rotmats[..., 1:, :, :, :] - g.rotmats[..., :-1, :, :, :]
    return g.total(change.square()) * (TARGET_FPS / TURN) ** 2 / 4


def smooth(g: Guess) -> Tensor:
    """Joints are accelerated little."""
    change = g.joints[..., 2:, :, :] - 2 * g.joints[..., 1:-1, :, :] + g.joints[..., :-2, :, :]
    return 0.5 * g.total((change * (TARGET_FPS**2 / ACCELERATION)).square())


def penetration(g: Guess) -> Tensor:
    """No joint is below the floor."""
    return 0.5 * g.total((g.joints[..., 2].clamp(max=0) / BELOW).square())


def shape(g: Guess) -> Tensor:
    """Bodies are near the mean."""
    return 0.5 * g.total(g.betas.square())


def floor(g: Guess) -> Tensor:
    """The floor is near where z is 0, and level."""
    return 0.5 * (g.total((g.floor[..., :2] / FLOOR_TILT).square()) + (g.floor[..., 2] / FLOOR_HEIGHT).square())


def latents(g: Guess) -> Tensor:
    """Each latent is likely under the prior of the state before it."""
    told = _told(g)
    return 0.5 * g.total((told.latents - told.prior.mean).square() / told.prior.var + told.prior.var.log())


def first_state(g: Guess) -> Tensor:
    """The first state's velocities are those with which its joints then move."""
    states = _told(g).states
    trans, joints = (
        (velocities.select(g.time, 0) - (x.select(g.time, 1) - x.select(g.time, 0)) * TARGET_FPS) / FIRST_SPEED
        for velocities, x in ((states.trans_vel, states.trans), (states.joints_vel, states.joints))
    )
    return 0.5 * (g.total(trans.square()) + g.total(joints.square()))


def skeleton(g: Guess) -> Tensor:
    """The network's joints are where its pose puts them."""
    return 0.5 * g.total(((_told(g).states.joints - g.joints) / OWN_JOINTS).square())


def bones(g: Guess) -> Tensor:
    """The network's joints are a bone's length apart."""
    lengths, own = (
        torch.linalg.vector_norm(x[..., 1:, :] - _of_joints(x, BODY_PARENTS[1:]), dim=-1)
        for x in (_told(g).states.joints, g.rest)
    )
    return 0.5 * g.total(((lengths - own.unsqueeze(-2)) / OWN_JOINTS).square())


def contact_speed(g: Guess) -> Tensor:
    """What the network says is in contact does not slide."""
    touching = _of_joints(g.joints, CONTACT_JOINTS)
    speed = (touching[..., 1:, :, :] - touching[..., :-1, :, :]) * TARGET_FPS
    return 0.5 * g.total(_told(g).contacts.sigmoid() * (speed / SLIDE).square().sum(-1))


def contact_height(g: Guess) -> Tensor:
    """And is no higher than contacts are."""
    above = (_of_joints(g.joints, CONTACT_JOINTS)[..., 1:, :, 2] - JOINT_HEIGHT).clamp(min=0)
    return 0.5 * g.total(_told(g).contacts.sigmoid() * (above / ABOVE).square())


TERMS: dict[str, Callable[[Guess], Tensor]] = {
    term.__name__: term
    for term in (
        *(seen, bend, turn, smooth, penetration, shape, floor),
        *(latents, first_state, skeleton, bones, contact_speed, contact_height),
    )
}


def energy(guess: Guess, weights: Mapping[str, float]) -> Float[Tensor, "*batch"]:
    """The weighted sum of the terms that have a weight, of each motion."""
    return torch.stack([weight * TERMS[name](guess) for name, weight in weights.items()]).sum(0)


def _of_joints(x: Float[Tensor, "*batch 22 3"], joints: Sequence[int]) -> Float[Tensor, "*batch some 3"]:
    """Some joints of all. A list as an index would be sent to the device each time, and waited for."""
    return torch.stack([x[..., joint, :] for joint in joints], -2)


def _told(g: Guess) -> Told:
    assert g.told is not None, "terms of the motion prior need its last stage"
    return g.told
