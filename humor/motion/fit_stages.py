"""The stages of fitting: what each solves, for how many iterations, and the weights of its terms."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ..data.processing import TARGET_FPS
from .fit_terms import CONTACT_HEIGHT, CONTACT_SPEED, FLOOR_HEIGHT, JOINT_DISTANCE, SPEED
from .observations import Observations


@dataclass(frozen=True)
class Stage:
    """The settings of a stage: what it solves, iterations of L-BFGS, and the weights of its terms."""

    problem: str  # "root", "pose", "transitions" or "rollout"
    iterations: int
    weights: Mapping[str, float] = field(default_factory=dict)
    frames: int | None = None  # that the terms look at, from the start; all, if left out
    fixed: tuple[str, ...] = ()  # variables that stay as they are


_POSE = {"data": 1, "smooth": 1, "pose_prior": 1, "angular_smoothness": 1, "shape": 1, "penetration": 1}

# The motion's smoothness still counts half in the last stage, for motion that the network does not know.
STAGES = {
    "root": Stage("root", 30, {"data": 1, "smooth": 1}),
    "pose": Stage("pose", 300, _POSE),
    "motion": Stage(
        "transitions",
        600,
        {
            **{"data": 1, "transitions": 0.1, "latents": 0.1, "shape": 1, "floor": 1, "penetration": 1},
            **{"smooth": 0.5, "pose_prior": 0.5, "angular_smoothness": 0.5},
        },
    ),
}
# By how much more these terms count where nothing is observed in space. An image does not tell a small body from a far
# one, nor a limb that points forward from one that points back.
_IN_IMAGES = {"shape": 100, "pose_prior": 10}
# The terms that look at mixtures fitted on a store, and the terms that stand in for them where there are none.
MIXTURES = {"pose_mixture": "pose_prior", "first_state_mixture": "first_state"}
# The weights of mixtures in our stages: for poses, the share of what `pose_prior` weighs. Frames of a motion are not
# independent, and no store has every pose.
_POSE_SHARE, _FIRST_STATE_WEIGHT = 0.2, 0.3


def default_stages(observed: Observations, priors: bool = False) -> dict[str, Stage]:
    """Our stages, with the weights for observations of this kind.

    With `priors`, a mixture over poses takes the place of `pose_prior`, and the last stage has one over first states.
    """
    factors = _IN_IMAGES if observed.in_images else {}

    def weigh(stage: Stage) -> Stage:
        weights = {name: weight * factors.get(name, 1) for name, weight in stage.weights.items()}
        return replace(stage, weights=weights)

    stages = {name: weigh(stage) for name, stage in STAGES.items()}
    if priors:
        stages = {name: _use_mixtures(stage, _POSE_SHARE) for name, stage in stages.items()}
        weights = {**stages["motion"].weights, "first_state_mixture": _FIRST_STATE_WEIGHT}
        stages["motion"] = replace(stages["motion"], weights=weights)
    return stages


def _use_mixtures(stage: Stage, share: float = 1.0) -> Stage:
    """The stage with mixtures in place of what stands in for them, with a share of its weight."""
    instead = {weak: strong for strong, weak in MIXTURES.items()}
    weights = {
        instead.get(name, name): weight * (share if name in instead else 1) for name, weight in stage.weights.items()
    }
    return replace(stage, weights=weights)


_PUBLISHED_STEP = 20  # iterations of L-BFGS


@dataclass(frozen=True)
class PublishedWeights:
    """A column of the published settings: energies of squared metres (or pixels), squared residuals halved.

    The pose prior and the speed count before the stage of the motion prior; what comes after them but the data and the
    shape counts in it. Source: the published configurations.
    """

    data: float
    pose_prior: float
    shape: float  # times the number of frames, and of the square itself
    speed: float
    latents: float
    skeleton: float
    bone_change: float
    contact_speed: float
    contact_height: float
    floor: float
    steps: tuple[int, int, int] = (30, 70, 70)


PUBLISHED = {
    "joints": PublishedWeights(1, 2e-4, 1.67e-4, 10, 1e-3, 1, 10, 1, 1, 0),
    "keypoints": PublishedWeights(1, 2e-4, 1.67e-4, 0.1, 5e-4, 1, 10, 1, 1, 0),
    "video": PublishedWeights(1e-3, 0.04, 0.05, 100, 0.075, 100, 2000, 100, 10, 0.167, (30, 80, 70)),
    "depth": PublishedWeights(1e-3, 0.1, 0.034, 100, 0.075, 100, 2000, 100, 10, 1),
}


def make_published_stages(observed: Observations, priors: bool = False) -> dict[str, Stage]:
    """The published stages and weights for observations of this kind, in the units of the terms.

    The last stage grows: 15 frames, then all with the first state fixed, then everything, with contacts. With
    `priors`, a mixture over poses takes VPoser's place, and the mixture over first states is as published; without
    them, ours holds poses near rest, and the first state's velocities are held to how its joints move. Weights of the
    data that are not 1 are divided out.
    """
    given = PUBLISHED[_published_column(observed)]
    by_data = 1 / (given.data * observed.noise**2)
    frames = observed.confidence.shape[-2]
    weights = {"data": 1.0, "shape": 2 * given.shape * frames * by_data}
    before = {
        **weights,
        **{"pose_prior": 2 * given.pose_prior * by_data, "speed": given.speed * (SPEED / TARGET_FPS) ** 2 * by_data},
    }
    last = {
        **weights,
        "latents": given.latents * by_data,
        "first_state": given.latents * by_data,
        "skeleton": given.skeleton * JOINT_DISTANCE**2 * by_data,
        "bone_change": given.bone_change * JOINT_DISTANCE**2 * by_data,
        "floor": given.floor * FLOOR_HEIGHT**2 * by_data,
    }
    contacts = {
        "contact_speed": given.contact_speed * (CONTACT_SPEED / TARGET_FPS) ** 2 * by_data,
        "contact_height": given.contact_height * CONTACT_HEIGHT * by_data,
    }
    root, pose, motion = (_PUBLISHED_STEP * steps for steps in given.steps)
    begin, grown = _PUBLISHED_STEP * 30, _PUBLISHED_STEP * 55
    first_state = ("trans", "trans_vel", "root_orient_vel", "joints_vel", "rotvec")
    stages = {
        "root": Stage("root", root, {"data": 1.0, "speed": before["speed"]}),
        "pose": Stage("pose", pose, before),
        "motion of 15 frames": Stage("rollout", begin, last, frames=15),
        "motion from there": Stage("rollout", grown - begin, last, fixed=first_state),
        "motion": Stage("rollout", motion - grown, last | contacts),
    }
    return {name: _use_mixtures(stage) if priors else stage for name, stage in stages.items()}


def _published_column(observed: Observations) -> str:
    kinds = [part.kind for part in observed.parts]
    if observed.in_images:
        return "video"
    if "points" in kinds:
        return "depth"
    return "joints" if "joints" in kinds else "keypoints"
