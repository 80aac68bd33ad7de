"""What makes a motion likely: a table of small terms, each a negative log-probability up to a constant.

All are sums in units of their own spread, so that weights of 1 say "believe it". Source of what they are: Rempe et al.
2021, section 4; their spreads are ours, in plain units.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import huber_loss

from .data.processing import JOINT_HEIGHT, TARGET_FPS
from .model import Gaussian
from .observations import Observations
from .skeleton import BODY_PARENTS, CONTACT_JOINTS
from .state import MotionState

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
    """What the motion prior says of a motion: the network's states, and where its latents come from."""

    states: MotionState  # (frames, ...), the first the initial one
    contacts: Float[Tensor, "steps 9"]  # logits
    latents: Float[Tensor, "steps 48"]
    prior: Gaussian  # of the latents


@dataclass(frozen=True, eq=False)
class Guess:
    """All that a term may look at: a motion over a floor at z = 0, and where it is in the world."""

    rotmats: Float[Tensor, "frames 22 3 3"]
    joints: Float[Tensor, "frames 22 3"]  # metres, of the posed body
    world: Float[Tensor, "frames 22 3"]  # the same where it was seen from
    rest: Float[Tensor, "22 3"]  # metres
    betas: Float[Tensor, "16"]
    floor: Float[Tensor, "3"]  # tilt about x and y, radians, and height, metres, in the world
    observed: Observations
    told: Told | None = None


def seen(g: Guess) -> Tensor:
    """How well the joints agree with what was seen."""
    away = g.observed.residuals(g.world)
    return (
        g.observed.trust.unsqueeze(-1) * huber_loss(away, torch.zeros_like(away), reduction="none", delta=OUTLIER)
    ).sum()


def bend(g: Guess) -> Tensor:
    """Joints bend little: half the squared angle, of matrices near the identity."""
    return (g.rotmats[:, 1:] - torch.eye(3, device=g.rotmats.device)).square().sum() / (4 * BEND**2)


def turn(g: Guess) -> Tensor:
    """Joints turn slowly."""
    return (g.rotmats[1:] - g.rotmats[:-1]).square().sum() * (TARGET_FPS / TURN) ** 2 / 4


def smooth(g: Guess) -> Tensor:
    """Joints are accelerated little."""
    change = g.joints[2:] - 2 * g.joints[1:-1] + g.joints[:-2]
    return 0.5 * (change * (TARGET_FPS**2 / ACCELERATION)).square().sum()


def penetration(g: Guess) -> Tensor:
    """No joint is below the floor."""
    return 0.5 * (g.joints[..., 2].clamp(max=0) / BELOW).square().sum()


def shape(g: Guess) -> Tensor:
    """Bodies are near the mean."""
    return 0.5 * g.betas.square().sum()


def floor(g: Guess) -> Tensor:
    """The floor is near where z is 0, and level."""
    return 0.5 * ((g.floor[:2] / FLOOR_TILT).square().sum() + (g.floor[2] / FLOOR_HEIGHT).square())


def latents(g: Guess) -> Tensor:
    """Each latent is likely under the prior of the state before it."""
    told = _told(g)
    return 0.5 * ((told.latents - told.prior.mean).square() / told.prior.var + told.prior.var.log()).sum()


def first_state(g: Guess) -> Tensor:
    """The first state's velocities are those with which its joints then move."""
    states = _told(g).states
    gaps = [
        (getattr(states, f"{name}_vel")[0] - (x[1] - x[0]) * TARGET_FPS) / FIRST_SPEED
        for name, x in (("trans", states.trans), ("joints", states.joints))
    ]
    return 0.5 * sum((gap.square().sum() for gap in gaps), start=torch.zeros((), device=g.betas.device))


def skeleton(g: Guess) -> Tensor:
    """The network's joints are where its pose puts them."""
    return 0.5 * ((_told(g).states.joints - g.joints) / OWN_JOINTS).square().sum()


def bones(g: Guess) -> Tensor:
    """The network's joints are a bone's length apart."""
    parents = list(BODY_PARENTS[1:])
    lengths, own = (
        torch.linalg.vector_norm(x[..., 1:, :] - x[..., parents, :], dim=-1) for x in (_told(g).states.joints, g.rest)
    )
    return 0.5 * ((lengths - own) / OWN_JOINTS).square().sum()


def contact_speed(g: Guess) -> Tensor:
    """What the network says is in contact does not slide."""
    speed = (g.joints[1:, CONTACT_JOINTS] - g.joints[:-1, CONTACT_JOINTS]) * TARGET_FPS
    return 0.5 * (_told(g).contacts.sigmoid() * (speed / SLIDE).square().sum(-1)).sum()


def contact_height(g: Guess) -> Tensor:
    """And is no higher than contacts are."""
    above = (g.joints[1:, CONTACT_JOINTS, 2] - JOINT_HEIGHT).clamp(min=0)
    return 0.5 * (_told(g).contacts.sigmoid() * (above / ABOVE).square()).sum()


TERMS: dict[str, Callable[[Guess], Tensor]] = {
    term.__name__: term
    for term in (
        *(seen, bend, turn, smooth, penetration, shape, floor),
        *(latents, first_state, skeleton, bones, contact_speed, contact_height),
    )
}


def energy(guess: Guess, weights: Mapping[str, float]) -> Float[Tensor, ""]:
    """The weighted sum of the terms that have a weight."""
    return torch.stack([weight * TERMS[name](guess) for name, weight in weights.items()]).sum()


def _told(g: Guess) -> Told:
    assert g.told is not None, "terms of the motion prior need its last stage"
    return g.told
