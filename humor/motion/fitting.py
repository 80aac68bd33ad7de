"""Motion fitted to what was seen of it, in three stages, the last through the motion prior.

Source: Rempe et al. 2021, section 4: first where the body is, then its pose and shape, then the first state, the
latents of every step, shape and floor together, through a rollout. L-BFGS throughout.
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
from .fit_terms import Guess, Told, energy
from .generation import Network, follow, followed
from .lbfgs import minimise
from .observations import Observations

HEADINGS = 4  # tried in the first stage, evenly around


@dataclass(frozen=True)
class Stage:
    """How a stage is solved: iterations of L-BFGS, and the weights of its terms."""

    iterations: int
    weights: Mapping[str, float] = field(default_factory=dict)


STAGES = {
    "root": Stage(30, {"seen": 1, "smooth": 1}),
    "pose": Stage(400, {"seen": 1, "smooth": 1, "bend": 1, "turn": 1, "shape": 1}),
    "motion": Stage(
        200,
        {
            **{"seen": 1, "latents": 1, "first_state": 1, "bend": 0.1, "shape": 1, "floor": 1, "penetration": 1},
            **{"skeleton": 1, "bones": 1, "contact_speed": 1, "contact_height": 1},
        },
    ),
}


@dataclass(frozen=True, eq=False)
class Fitted:
    """Motions as a stage leaves them, in the world that they were seen in."""

    rotmats: Float[Tensor, "*batch frames 22 3 3"]
    trans: Float[Tensor, "*batch frames 3"]  # metres
    betas: Float[Tensor, "*batch 16"]
    joints: Float[Tensor, "*batch frames 22 3"]  # metres
    floor: Float[Tensor, "*batch 3"]  # tilt about x and y, radians, and height, metres

    def state(self) -> MotionState:
        """With velocities by differences; those of the ends carry on as the motion does."""
        time, fps = self.betas.dim() - 1, float(TARGET_FPS)
        trans, joints, root = (x.movedim(time, 0) for x in (self.trans, self.joints, self.rotmats[..., 0, :, :]))
        trans_vel, joints_vel = (velocity(_carried_on(x), fps) for x in (trans, joints))
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
) -> dict[str, Fitted]:
    """The motion after each stage, the last told by the network. `on_step` hears every evaluation's energy.

    Several motions of one length, along leading axes, are fitted together: the sum of their energies is brought down.
    """
    observed, body = observed.map(lambda x: x.to(network.device)), body.to(network.device)

    def solved(name: str, problem: Problem, scaled: bool = False) -> tuple[Tensor, Fitted]:
        weights, iterations = stages[name].weights, stages[name].iterations

        def energies() -> Tensor:
            return energy(problem.told()[1], weights)

        minimise(problem.variables, lambda: energies().sum(), iterations, lambda value: on_step(name, value), scaled)
        return energies().detach(), _detached(problem.told()[0])

    with network.device:  # where what is made inside is
        root = _best([solved("root", _root_problem(body, observed, heading)) for heading in range(HEADINGS)])
        _, pose = solved("pose", _pose_problem(body, observed, root))
        _, motion = solved("motion", motion_problem(network, body, observed, pose), network.scaled)
    return {"root": root, "pose": pose, "motion": motion}


@dataclass(frozen=True, eq=False)
class Problem:
    """What a stage solves: its variables, and the motions and the guess that they stand for now."""

    variables: Mapping[str, Tensor]
    told: Callable[[], tuple[Fitted, Guess]]


def _root_problem(body: BodyModel, observed: Observations, heading: int) -> Problem:
    """Where the body is and which way it faces, at rest otherwise; from one of HEADINGS on."""
    shape = observed.trust.shape[:-1]
    betas, rest = torch.zeros(*shape[:-1], NUM_BETAS), torch.eye(3).expand(*shape, 21, 3, 3)
    facing = rotvec_to_rotmat(torch.tensor([0.0, 0.0, 2 * math.pi * heading / HEADINGS])) @ torch.tensor(Y_UP_TO_Z_UP)
    variables = {"turn": torch.zeros(*shape, 3), "trans": _first_place(body, observed)}

    def told() -> tuple[Fitted, Guess]:
        root = rotvec_to_rotmat(variables["turn"]) @ facing
        posed = _posed(body, torch.cat([root.unsqueeze(-3), rest], -3), variables["trans"], betas)
        return posed, _guess(body, observed, posed)

    return Problem(variables, told)


def _best(found: Sequence[tuple[Float[Tensor, "*batch"], Fitted]]) -> Fitted:
    """Of several fits, that of the lowest energy, each motion's own."""
    energies, fits = zip(*found, strict=True)
    lowest = torch.stack(energies).nan_to_num(math.inf).argmin(0)

    def chosen(options: Sequence[Tensor]) -> Tensor:
        stacked = torch.stack(list(options))
        index = lowest.reshape(1, *lowest.shape, *[1] * (stacked.dim() - 1 - lowest.dim()))
        return torch.take_along_dim(stacked, index, 0)[0]

    return Fitted(*(chosen([getattr(fitted, name) for fitted in fits]) for name in vars(fits[0])))


def _pose_problem(body: BodyModel, observed: Observations, root: Fitted) -> Problem:
    """Every frame's pose, and the shape."""
    turn = torch.zeros(*root.trans.shape[:-1], 22, 3)
    variables = {"turn": turn, "trans": root.trans.clone(), "betas": root.betas.clone()}

    def told() -> tuple[Fitted, Guess]:
        rotmats = rotvec_to_rotmat(turn) @ root.rotmats
        posed = _posed(body, rotmats, variables["trans"], variables["betas"])
        return posed, _guess(body, observed, posed)

    return Problem(variables, told)


def motion_problem(network: Network, body: BodyModel, observed: Observations, pose: Fitted) -> Problem:
    """The last stage's: the first state, the latents, the shape and the floor, all through the network's rollout."""
    states, time = pose.state(), pose.betas.dim() - 1
    first = states.map(lambda x: x.select(time, 0))
    turns = first.rotmats
    with network.running() as model:
        _, latents = follow(model, states)
    names = ("trans", "trans_vel", "root_orient_vel", "joints_vel")
    variables = {
        **{name: getattr(first, name).clone() for name in names},
        **{
            "turn": turns.new_zeros(turns.shape[:-1]),
            "betas": pose.betas.clone(),
            "floor": torch.zeros_like(pose.floor),
            "latents": latents.clone(),
        },
    }

    def told() -> tuple[Fitted, Guess]:
        rotmats, trans = rotvec_to_rotmat(variables["turn"]) @ turns, variables["trans"]
        joints = body(rotmats, variables["betas"], trans).joints
        way, way_vel, spin, joints_vel = (variables[name] for name in names)
        root, rest = rotmats[..., 0, :, :], rotmats[..., 1:, :, :]
        initial = MotionState(way, way_vel, root, spin, rest, joints, joints_vel)
        motion = _roll(network, initial, variables["latents"])
        posed = _posed(body, motion.states.rotmats, motion.states.trans, variables["betas"])
        return _in_the_world(body, posed, variables["floor"]), _guess(body, observed, posed, variables["floor"], motion)

    return Problem(variables, told)


def _roll(network: Network, initial: MotionState, latents: Float[Tensor, "*batch steps 48"]) -> Told:
    """The rollout of given latents, and what the prior would have expected at each step."""
    time, steps = latents.dim() - 2, latents.shape[-2]
    with network.running() as model:
        out = model.rollout(initial, steps, latents)
        states = followed(initial, out.state)
        pivot = CanonicalFrame.of(initial).pivot.unsqueeze(time)
        past = states.map(lambda x: x.narrow(time, 0, steps))
        prior = model.prior(CanonicalFrame.of(past, pivot.expand(*past.batch_shape, 3)).world_to_canonical(past))
    return Told(states, out.contacts, latents, prior)


def _posed(body: BodyModel, rotmats: Tensor, trans: Tensor, betas: Tensor) -> Fitted:
    joints = body(rotmats, betas.unsqueeze(-2).expand(*trans.shape[:-1], -1), trans).joints
    return Fitted(rotmats, trans, betas, joints, trans.new_zeros(*betas.shape[:-1], 3))


def _guess(
    body: BodyModel, observed: Observations, posed: Fitted, floor: Tensor | None = None, told: Told | None = None
) -> Guess:
    floor = posed.floor if floor is None else floor
    world = _on_floor(posed.joints, floor)
    rest = body.rest_joints(posed.betas)
    return Guess(posed.rotmats, posed.joints, world, rest, posed.betas, floor, observed, told)


def _on_floor(
    points: Float[Tensor, "*batch frames some 3"], floor: Float[Tensor, "*batch 3"]
) -> Float[Tensor, "*batch frames some 3"]:
    """Points over a floor at z = 0 where that floor is in the world."""
    up = torch.cat([torch.zeros_like(floor[..., :2]), floor[..., 2:]], -1)
    return points @ _tilt(floor).mT.unsqueeze(-3) + up[..., None, None, :]


def _tilt(floor: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    return rotvec_to_rotmat(torch.cat([floor[..., :2], torch.zeros_like(floor[..., :1])], -1))


def _in_the_world(body: BodyModel, posed: Fitted, floor: Float[Tensor, "*batch 3"]) -> Fitted:
    """A motion over a floor at z = 0 where that floor is in the world; the root joint is what moves."""
    root = body.rest_joints(posed.betas)[..., None, 0, :]
    tilted = _tilt(floor)[..., None, None, :, :] @ posed.rotmats[..., :1, :, :]
    rotmats = torch.cat([tilted, posed.rotmats[..., 1:, :, :]], -3)
    trans = _on_floor((posed.trans + root).unsqueeze(-2), floor).squeeze(-2) - root
    return Fitted(rotmats, trans, posed.betas, _on_floor(posed.joints, floor), floor)


def _first_place(body: BodyModel, observed: Observations) -> Float[Tensor, "*batch frames 3"]:
    """Where the middle of what was seen is: in a picture, as far away as a body of that size would be."""
    there = observed.trust > 0
    rest = (body.rest_joints(torch.zeros(NUM_BETAS)) @ torch.tensor(Y_UP_TO_Z_UP).mT).expand(*there.shape, -1)
    weights = there.unsqueeze(-1).float()

    def middle(points: Tensor) -> Tensor:  # over all frames where a frame shows nothing
        whole = (weights * points).sum((-3, -2)) / weights.sum((-3, -2))
        own = (weights * points).sum(-2) / weights.sum(-2).clamp_min(1)
        return torch.where(weights.any(-2), own, whole.unsqueeze(-2))

    seen, centre = middle(observed.seen), middle(rest)
    if observed.camera is not None:
        heights = [
            (weights[..., 0] * (x - y)).square().sum((-2, -1)).sqrt()
            for x, y in ((observed.seen[..., 1], seen[..., 1:2]), (rest[..., 2], centre[..., 2:]))
        ]
        depth = observed.camera.focal[1] * heights[1] / heights[0].clamp_min(1)
        seen = observed.camera.place(seen, depth.unsqueeze(-1).expand(seen.shape[:-1]))
    return seen - centre


def _carried_on(x: Tensor) -> Tensor:
    """A series with one more element at each end, on the line through its neighbours."""
    return torch.cat([2 * x[:1] - x[1:2], x, 2 * x[-1:] - x[-2:-1]])


def _detached(fitted: Fitted) -> Fitted:
    return Fitted(*(getattr(fitted, name).detach() for name in vars(fitted)))
