"""Fit motion to observations in three stages, the last through the motion prior.

Source: Rempe et al. 2021, section 4: first the position and heading of the body, then its pose and shape, then the
first state, the latents of every step, shape and floor together, through a rollout. Each stage is solved by L-BFGS.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from ..body import BodyModel
from ..data.processing import TARGET_FPS, angular_velocity, velocity
from ..rotations import Y_UP_TO_Z_UP, rotvec_to_rotmat
from ..skeleton import NUM_BETAS
from ..state import CanonicalFrame, MotionState
from .fit_terms import FitState, PriorRollout, energy
from .generation import Network, encode_decode, prepend_frame
from .lbfgs import minimise
from .observations import Observations

HEADINGS = 4  # that the first stage starts from, evenly around


@dataclass(frozen=True)
class Stage:
    """The settings of a stage: iterations of L-BFGS, and the weights of its terms."""

    iterations: int
    weights: Mapping[str, float] = field(default_factory=dict)


STAGES = {
    "root": Stage(30, {"data": 1, "smooth": 1}),
    "pose": Stage(400, {"data": 1, "smooth": 1, "pose_prior": 1, "angular_smoothness": 1, "shape": 1}),
    "motion": Stage(
        200,
        {
            **{"data": 1, "latents": 1, "first_state": 1, "pose_prior": 0.1, "shape": 1, "floor": 1},
            **{"penetration": 1, "skeleton": 1, "bones": 1, "contact_speed": 1, "contact_height": 1},
        },
    ),
}


@dataclass(frozen=True, eq=False)
class FitResult:
    """Motions as a stage leaves them, in the world of the observations."""

    rotmats: Float[Tensor, "*batch frames 22 3 3"]
    trans: Float[Tensor, "*batch frames 3"]  # metres
    betas: Float[Tensor, "*batch 16"]
    joints: Float[Tensor, "*batch frames 22 3"]  # metres
    floor: Float[Tensor, "*batch 3"]  # tilt about x and y, radians, and height, metres

    def state(self) -> MotionState:
        """The motion with velocities by differences, extrapolated linearly at both ends."""
        time, fps = self.betas.dim() - 1, float(TARGET_FPS)
        trans, joints, root = (x.movedim(time, 0) for x in (self.trans, self.joints, self.rotmats[..., 0, :, :]))
        trans_vel, joints_vel = (velocity(_extrapolated(x), fps) for x in (trans, joints))
        root = torch.cat([root[:1] @ root[1:2].mT @ root[:1], root, root[-1:] @ root[-2:-1].mT @ root[-1:]])
        trans_vel, spin, joints_vel = (x.movedim(0, time) for x in (trans_vel, angular_velocity(root, fps), joints_vel))
        root, body = self.rotmats[..., 0, :, :], self.rotmats[..., 1:, :, :]
        return MotionState(self.trans, trans_vel, root, spin, body, self.joints, joints_vel)


def fit(
    network: Network,
    body: BodyModel,
    observed: Observations,
    stages: Mapping[str, Stage] = STAGES,
    on_step: Callable[[str, float], None] = lambda stage, energy: None,
) -> dict[str, FitResult]:
    """Fit motion to observations; returns the result of each stage, by name.

    Several motions of one length, along leading axes, are fitted together: the sum of their energies is minimised.
    `on_step` is called with the stage and the energy of each evaluation.
    """
    observed, body = observed.map(lambda x: x.to(network.device)), body.to(network.device)

    def solve(name: str, problem: Problem, scaled: bool = False) -> tuple[Tensor, FitResult]:
        weights, iterations = stages[name].weights, stages[name].iterations

        def energies() -> Tensor:
            return energy(problem.evaluate()[1], weights)

        minimise(problem.variables, lambda: energies().sum(), iterations, lambda value: on_step(name, value), scaled)
        return energies().detach(), _detached(problem.evaluate()[0])

    with network.device:  # on which new tensors are created
        root = _best([solve("root", _root_problem(body, observed, heading)) for heading in range(HEADINGS)])
        _, pose = solve("pose", _pose_problem(body, observed, root))
        _, motion = solve("motion", motion_problem(network, body, observed, pose), network.scaled)
    return {"root": root, "pose": pose, "motion": motion}


@dataclass(frozen=True, eq=False)
class Problem:
    """What a stage solves: its variables, and the motions that they stand for now, in the world and for the terms."""

    variables: Mapping[str, Tensor]
    evaluate: Callable[[], tuple[FitResult, FitState]]


def _root_problem(body: BodyModel, observed: Observations, heading: int) -> Problem:
    """Solve for the position and orientation of the body in its rest pose, from one of HEADINGS."""
    shape = observed.confidence.shape[:-1]
    betas, rest = torch.zeros(*shape[:-1], NUM_BETAS), torch.eye(3).expand(*shape, 21, 3, 3)
    facing = rotvec_to_rotmat(torch.tensor([0.0, 0.0, 2 * math.pi * heading / HEADINGS])) @ torch.tensor(Y_UP_TO_Z_UP)
    variables = {"rotvec": torch.zeros(*shape, 3), "trans": _initial_translation(body, observed)}

    def evaluate() -> tuple[FitResult, FitState]:
        root = rotvec_to_rotmat(variables["rotvec"]) @ facing
        posed = _posed(body, torch.cat([root.unsqueeze(-3), rest], -3), variables["trans"], betas)
        return posed, _fit_state(body, observed, posed)

    return Problem(variables, evaluate)


def _best(candidates: Sequence[tuple[Float[Tensor, "*batch"], FitResult]]) -> FitResult:
    """For each motion, the candidate with the lowest energy."""
    energies, fits = zip(*candidates, strict=True)
    lowest = torch.stack(energies).nan_to_num(math.inf).argmin(0)

    def choose(options: Sequence[Tensor]) -> Tensor:
        stacked = torch.stack(list(options))
        index = lowest.reshape(1, *lowest.shape, *[1] * (stacked.dim() - 1 - lowest.dim()))
        return torch.take_along_dim(stacked, index, 0)[0]

    return FitResult(*(choose([getattr(fitted, name) for fitted in fits]) for name in vars(fits[0])))


def _pose_problem(body: BodyModel, observed: Observations, root: FitResult) -> Problem:
    """Solve for the pose of every frame, and the shape."""
    rotvec = torch.zeros(*root.trans.shape[:-1], 22, 3)
    variables = {"rotvec": rotvec, "trans": root.trans.clone(), "betas": root.betas.clone()}

    def evaluate() -> tuple[FitResult, FitState]:
        rotmats = rotvec_to_rotmat(rotvec) @ root.rotmats
        posed = _posed(body, rotmats, variables["trans"], variables["betas"])
        return posed, _fit_state(body, observed, posed)

    return Problem(variables, evaluate)


def motion_problem(network: Network, body: BodyModel, observed: Observations, pose: FitResult) -> Problem:
    """Solve for the first state, the latents, the shape and the floor, through the network's rollout."""
    states, time = pose.state(), pose.betas.dim() - 1
    first = states.map(lambda x: x.select(time, 0))
    first_rotmats = first.rotmats
    with network.running() as model:
        _, latents = encode_decode(model, states)
    names = ("trans", "trans_vel", "root_orient_vel", "joints_vel")
    variables = {
        **{name: getattr(first, name).clone() for name in names},
        **{
            "rotvec": first_rotmats.new_zeros(first_rotmats.shape[:-1]),
            "betas": pose.betas.clone(),
            "floor": torch.zeros_like(pose.floor),
            "latents": latents.clone(),
        },
    }

    def evaluate() -> tuple[FitResult, FitState]:
        rotmats = rotvec_to_rotmat(variables["rotvec"]) @ first_rotmats
        joints = body(rotmats, variables["betas"], variables["trans"]).joints
        trans, trans_vel, spin, joints_vel = (variables[name] for name in names)
        root, rest = rotmats[..., 0, :, :], rotmats[..., 1:, :, :]
        initial = MotionState(trans, trans_vel, root, spin, rest, joints, joints_vel)
        rollout = _roll_out(network, initial, variables["latents"])
        posed = _posed(body, rollout.states.rotmats, rollout.states.trans, variables["betas"])
        state = _fit_state(body, observed, posed, variables["floor"], rollout)
        return _to_world(body, posed, variables["floor"]), state

    return Problem(variables, evaluate)


def _roll_out(network: Network, initial: MotionState, latents: Float[Tensor, "*batch steps 48"]) -> PriorRollout:
    """Roll out given latents, and compute the prior at each step."""
    time, steps = latents.dim() - 2, latents.shape[-2]
    with network.running() as model:
        out = model.rollout(initial, steps, latents)
        states = prepend_frame(initial, out.state)
        pivot = CanonicalFrame.of(initial).pivot.unsqueeze(time)
        past = states.map(lambda x: x.narrow(time, 0, steps))
        prior = model.prior(CanonicalFrame.of(past, pivot.expand(*past.batch_shape, 3)).world_to_canonical(past))
    return PriorRollout(states, out.contacts, latents, prior)


def _posed(body: BodyModel, rotmats: Tensor, trans: Tensor, betas: Tensor) -> FitResult:
    joints = body(rotmats, betas.unsqueeze(-2).expand(*trans.shape[:-1], -1), trans).joints
    return FitResult(rotmats, trans, betas, joints, trans.new_zeros(*betas.shape[:-1], 3))


def _fit_state(
    body: BodyModel,
    observed: Observations,
    posed: FitResult,
    floor: Tensor | None = None,
    rollout: PriorRollout | None = None,
) -> FitState:
    floor = posed.floor if floor is None else floor
    world = _on_floor(posed.joints, floor)
    rest = body.rest_joints(posed.betas)
    return FitState(posed.rotmats, posed.joints, world, rest, posed.betas, floor, observed, rollout)


def _on_floor(
    points: Float[Tensor, "*batch frames some 3"], floor: Float[Tensor, "*batch 3"]
) -> Float[Tensor, "*batch frames some 3"]:
    """Move points over a floor at z = 0 to where that floor is in the world."""
    up = torch.cat([torch.zeros_like(floor[..., :2]), floor[..., 2:]], -1)
    return points @ _tilt(floor).mT.unsqueeze(-3) + up[..., None, None, :]


def _tilt(floor: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    return rotvec_to_rotmat(torch.cat([floor[..., :2], torch.zeros_like(floor[..., :1])], -1))


def _to_world(body: BodyModel, posed: FitResult, floor: Float[Tensor, "*batch 3"]) -> FitResult:
    """Move a motion over a floor at z = 0 to where that floor is in the world, about the root joint."""
    root = body.rest_joints(posed.betas)[..., None, 0, :]
    tilted = _tilt(floor)[..., None, None, :, :] @ posed.rotmats[..., :1, :, :]
    rotmats = torch.cat([tilted, posed.rotmats[..., 1:, :, :]], -3)
    trans = _on_floor((posed.trans + root).unsqueeze(-2), floor).squeeze(-2) - root
    return FitResult(rotmats, trans, posed.betas, _on_floor(posed.joints, floor), floor)


def _initial_translation(body: BodyModel, observed: Observations) -> Float[Tensor, "*batch frames 3"]:
    """The middle of the observed joints; in an image, at the depth at which a body would appear that large."""
    present = observed.confidence > 0
    rest = (body.rest_joints(torch.zeros(NUM_BETAS)) @ torch.tensor(Y_UP_TO_Z_UP).mT).expand(*present.shape, -1)
    weights = present.unsqueeze(-1).float()

    def middle(points: Tensor) -> Tensor:  # of a frame; of all frames for one without joints
        of_all = (weights * points).sum((-3, -2)) / weights.sum((-3, -2))
        of_frame = (weights * points).sum(-2) / weights.sum(-2).clamp_min(1)
        return torch.where(weights.any(-2), of_frame, of_all.unsqueeze(-2))

    target, centre = middle(observed.joints), middle(rest)
    if observed.camera is not None:
        heights = [
            (weights[..., 0] * (x - y)).square().sum((-2, -1)).sqrt()
            for x, y in ((observed.joints[..., 1], target[..., 1:2]), (rest[..., 2], centre[..., 2:]))
        ]
        depth = observed.camera.focal[1] * heights[1] / heights[0].clamp_min(1)
        target = observed.camera.unproject(target, depth.unsqueeze(-1).expand(target.shape[:-1]))
    return target - centre


def _extrapolated(x: Tensor) -> Tensor:
    """A series with one more element at each end, extrapolated linearly."""
    return torch.cat([2 * x[:1] - x[1:2], x, 2 * x[-1:] - x[-2:-1]])


def _detached(fitted: FitResult) -> FitResult:
    return FitResult(*(getattr(fitted, name).detach() for name in vars(fitted)))
