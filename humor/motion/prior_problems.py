"""What the stages of fitting solve: variables, and the motions that they stand for."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..body import BodyModel
from ..data.processing import TARGET_FPS
from ..model import LATENT_SIZE
from ..rotations import rotvec_to_rotmat
from ..state import CanonicalFrame, MotionState
from .fit_result import FitResult, estimate_floor, pose_motion, stand_on_floor, state_for_terms, to_world
from .fit_terms import ACCELERATION, FitState, PriorSteps
from .generation import Network, encode_decode, prepend_frame
from .observations import Observations

DATA_DEVIATION = 0.04  # metres: of the observations that the basis over time is scaled for
TRANS_SCALE = 0.3  # of a variable that moves all joints, where a rotation moves few


@dataclass(frozen=True, eq=False)
class Problem:
    """What a stage solves: its variables, and the motions that they stand for now, in the world and for the terms.

    `evaluate` takes the number of frames from the start that the terms are to look at, None for all.
    """

    variables: Mapping[str, Tensor]
    evaluate: Callable[[int | None], tuple[FitResult, FitState]]


def smooth_basis(frames: int) -> Float[Tensor, "frames frames"]:
    """Cosines over time (the orthonormal DCT-II), each scaled to how little it may vary.

    With observations on one side and the term `smooth` on the other, the curvature of the energy along every column is
    the same: 1 + s (2 - 2 cos(pi k / frames))^2, with s the ratio of both terms' weights of one joint, is divided out.
    """
    k = torch.arange(frames)
    basis = torch.cos(math.pi * (2 * k[:, None] + 1) * k / (2 * frames)) * math.sqrt(2 / frames)
    basis[:, 0] /= math.sqrt(2)
    ratio = (DATA_DEVIATION * TARGET_FPS**2 / ACCELERATION) ** 2
    return basis / (1 + ratio * (2 - 2 * torch.cos(math.pi * k / frames)).square()).sqrt()


def free_motion(body: BodyModel, start: FitResult) -> tuple[dict[str, Tensor], Callable[[], FitResult]]:
    """Variables for the pose of every frame and the shape, all zero at `start`, and what poses the body by them."""
    basis, batch = smooth_basis(start.trans.shape[-2]).to(start.trans), start.betas.shape[:-1]
    frames = len(basis)
    variables = {
        "rotvec": start.trans.new_zeros(*batch, frames, 66),
        "trans": start.trans.new_zeros(*batch, frames, 3),
        "betas": torch.zeros_like(start.betas),
    }

    def pose() -> FitResult:
        rotmats = rotvec_to_rotmat((basis @ variables["rotvec"]).unflatten(-1, (22, 3))) @ start.rotmats
        trans = start.trans + TRANS_SCALE * (basis @ variables["trans"])
        return pose_motion(body, rotmats, trans, start.betas + variables["betas"])

    return variables, pose


def transition_problem(network: Network, body: BodyModel, observed: Observations, pose: FitResult) -> Problem:
    """Solve for all poses, latents, the shape and the floor, where each step of the network starts from the motion."""
    start = _above_floor(observed, pose, body)
    variables, posing = free_motion(body, start)
    past, reached = _transitions_of(start.state())
    with network.running() as model, torch.no_grad():
        encoded = model(past, reached, past.trans.new_zeros(*past.batch_shape, LATENT_SIZE))
    assert encoded.posterior is not None
    assert encoded.prior is not None
    latents, deviation = encoded.posterior.mean, encoded.prior.var.sqrt()
    variables |= {"latents": torch.zeros_like(latents), "floor": torch.zeros_like(pose.floor)}

    def evaluate(frames: int | None = None) -> tuple[FitResult, FitState]:
        posed, floor = posing(), start.floor + variables["floor"]
        steps = _step_from(network, posed.state(), latents + deviation * variables["latents"])
        contacts = _contacts(steps)
        return to_world(body, posed, floor, contacts), state_for_terms(body, observed, posed, floor, steps)

    return Problem(variables, evaluate)


def rollout_problem(network: Network, body: BodyModel, observed: Observations, pose: FitResult) -> Problem:
    """Solve for the first state, the latents, the shape and the floor, through the network's rollout."""
    start = _above_floor(observed, pose, body)
    states, time = start.state(), pose.betas.dim() - 1
    first = states.map(lambda x: x.select(time, 0))
    first_rotmats = first.rotmats
    with network.running() as model:
        _, latents = encode_decode(model, states)
    names = ("trans", "trans_vel", "root_orient_vel", "joints_vel")
    variables = {
        **{name: getattr(first, name).clone() for name in names},
        **{
            "rotvec": first_rotmats.new_zeros(first_rotmats.shape[:-1]),
            "betas": start.betas.clone(),
            "floor": start.floor.clone(),
            "latents": latents.clone(),
        },
    }

    def evaluate(frames: int | None = None) -> tuple[FitResult, FitState]:
        rotmats = rotvec_to_rotmat(variables["rotvec"]) @ first_rotmats
        joints = body(rotmats, variables["betas"], variables["trans"]).joints
        trans, trans_vel, spin, joints_vel = (variables[name] for name in names)
        root, rest = rotmats[..., 0, :, :], rotmats[..., 1:, :, :]
        initial = MotionState(trans, trans_vel, root, spin, rest, joints, joints_vel)
        count = latents.shape[time] if frames is None else min(frames - 1, latents.shape[time])
        steps = _roll_out(network, initial, variables["latents"].narrow(time, 0, count))
        assert steps.states is not None
        posed = pose_motion(body, steps.states.rotmats, steps.states.trans, variables["betas"])
        seen = observed if frames is None else observed.first(1 + count)
        state = state_for_terms(body, seen, posed, variables["floor"], steps)
        return to_world(body, posed, variables["floor"], _contacts(steps)), state

    return Problem(variables, evaluate)


def _above_floor(observed: Observations, pose: FitResult, body: BodyModel) -> FitResult:
    return pose if observed.floor_known else stand_on_floor(body, pose, estimate_floor(pose))


def _step_from(network: Network, states: MotionState, latents: Float[Tensor, "*batch steps 48"]) -> PriorSteps:
    """Decode one step from every frame but the last, and compute the prior of each."""
    past, reached = _transitions_of(states)
    with network.running() as model:
        predicted, contacts = model.decode(past, latents)
        prior = model.prior(past)
    return PriorSteps(contacts, latents, prior, predicted=predicted, reached=reached, past=past)


def _roll_out(network: Network, initial: MotionState, latents: Float[Tensor, "*batch steps 48"]) -> PriorSteps:
    """Roll out given latents, and compute the prior at each step."""
    time, steps = latents.dim() - 2, latents.shape[-2]
    with network.running() as model:
        out = model.rollout(initial, steps, latents)
        states = prepend_frame(initial, out.state)
        pivot = CanonicalFrame.of(initial).pivot.unsqueeze(time)
        past = states.map(lambda x: x.narrow(time, 0, steps))
        past = CanonicalFrame.of(past, pivot.expand(*past.batch_shape, 3)).world_to_canonical(past)
        prior = model.prior(past)
    return PriorSteps(out.contacts, latents, prior, states=states, past=past)


def _transitions_of(states: MotionState) -> tuple[MotionState, MotionState]:
    """Each frame but the last, and the one after it, both in the canonical frame of the former."""
    time = len(states.batch_shape) - 1
    steps = states.batch_shape[time] - 1
    past, reached = states.map(lambda x: x.narrow(time, 0, steps)), states.map(lambda x: x.narrow(time, 1, steps))
    frame = CanonicalFrame.of(past)
    return frame.world_to_canonical(past), frame.world_to_canonical(reached)


def _contacts(steps: PriorSteps) -> Float[Tensor, "*batch frames 9"]:
    """Probabilities of contact; the first frame has those of the second."""
    logits = steps.contacts
    return torch.cat([logits[..., :1, :], logits], -2).float().sigmoid()
