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

from .body import BodyModel
from .data.processing import TARGET_FPS, angular_velocity, velocity
from .fit_terms import Guess, Told, energy
from .generation import Network, follow, followed
from .observations import Observations
from .rotations import rotvec_to_rotmat
from .skeleton import NUM_BETAS
from .state import CanonicalFrame, MotionState

HEADINGS = 4  # tried in the first stage, evenly around
HISTORY = 50  # of L-BFGS
FAR_UP = 1e12  # what is not finite counts as
_STANDING = ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0), (0.0, 1.0, 0.0))  # turns a body whose rest pose has y up


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
    """A motion as a stage leaves it, in the world that it was seen in."""

    rotmats: Float[Tensor, "frames 22 3 3"]
    trans: Float[Tensor, "frames 3"]  # metres
    betas: Float[Tensor, "16"]
    joints: Float[Tensor, "frames 22 3"]  # metres
    floor: Float[Tensor, "3"]  # tilt about x and y, radians, and height, metres

    def state(self) -> MotionState:
        """With velocities by differences; those of the ends carry on as the motion does."""
        turns, root = self.rotmats, self.rotmats[:, 0]
        root = torch.cat([root[:1] @ root[1:2].mT @ root[:1], root, root[-1:] @ root[-2:-1].mT @ root[-1:]])
        trans_vel, joints_vel = (velocity(_carried_on(x), float(TARGET_FPS)) for x in (self.trans, self.joints))
        spin = angular_velocity(root, float(TARGET_FPS))
        return MotionState(self.trans, trans_vel, turns[:, 0], spin, turns[:, 1:], self.joints, joints_vel)


def fit(
    network: Network,
    body: BodyModel,
    observed: Observations,
    stages: Mapping[str, Stage] = STAGES,
    on_step: Callable[[str, float], None] = lambda stage, energy: None,
) -> dict[str, Fitted]:
    """The motion after each stage, the last told by the network. `on_step` hears every evaluation's energy."""
    observed, body = observed.map(lambda x: x.to(network.device)), body.to(network.device)
    with network.device:  # where what is made inside is
        root = _fit_root(body, observed, stages["root"], lambda value: on_step("root", value))
        pose = _fit_pose(body, observed, root, stages["pose"], lambda value: on_step("pose", value))
        motion = _fit_motion(network, body, observed, pose, stages["motion"], lambda value: on_step("motion", value))
    return {"root": root, "pose": pose, "motion": motion}


class Slope:
    """A value and its gradient in some leaves.

    float16 holds no gradient beyond 65504, and energies are large at first. With `scaled`, what overflows is computed
    again of the value times a smaller power of two, which is taken out of the gradient; every `PATIENCE` times it grows
    back, to 1 at most, since what is too small is lost.
    """

    SMALLEST, STEP, PATIENCE = 2.0**-32, 16.0, 20

    def __init__(self, leaves: Sequence[Tensor], value: Callable[[], Tensor], scaled: bool = False) -> None:
        self._leaves, self._value = leaves, value
        self._smallest = self.SMALLEST if scaled else 1.0
        self._scale, self._taken = 1.0, 0

    def take(self) -> Tensor:
        """The value; its gradient is in the leaves. Infinity, and no gradient, where either is not finite."""
        self._taken += 1
        if self._taken % self.PATIENCE == 0:
            self._scale = min(self._scale * self.STEP, 1.0)
        while True:
            for leaf in self._leaves:
                leaf.grad = None
            found = self._value()
            gradients = []
            if found.isfinite():
                (found * self._scale).backward()
                gradients = [leaf.grad for leaf in self._leaves if leaf.grad is not None]
                if all(gradient.isfinite().all() for gradient in gradients):
                    for gradient in gradients:
                        gradient /= self._scale
                    return found.detach()
            if not gradients or self._scale <= self._smallest:
                for leaf in self._leaves:
                    leaf.grad = None
                return torch.full_like(found.detach(), math.inf)
            self._scale /= self.STEP


def minimise(
    variables: Mapping[str, Tensor],
    value: Callable[[], Tensor],
    iterations: int,
    on_step: Callable[[float], None],
    scaled: bool = False,
) -> float:
    """Bring a value down by L-BFGS, leaving the variables where it was lowest; what is not finite counts as far up."""
    leaves = [x.requires_grad_() for x in variables.values()]
    solver = torch.optim.LBFGS(leaves, max_iter=iterations, history_size=HISTORY, line_search_fn="strong_wolfe")
    slope = Slope(leaves, value, scaled)
    best, kept = math.inf, [x.detach().clone() for x in leaves]

    def closure() -> Tensor:
        nonlocal best, kept
        found = slope.take()
        if not found.isfinite():
            return torch.full_like(found, FAR_UP)
        if found.item() < best:
            best, kept = found.item(), [x.detach().clone() for x in leaves]
        on_step(found.item())
        return found

    solver.step(closure)
    with torch.no_grad():
        for leaf, lowest in zip(leaves, kept, strict=True):
            leaf.copy_(lowest)
    return best


def _fit_root(body: BodyModel, observed: Observations, stage: Stage, on_step: Callable[[float], None]) -> Fitted:
    """Where the body is and which way it faces, at rest otherwise: the best of several first headings."""
    frames, betas = len(observed.seen), torch.zeros(NUM_BETAS)
    rest = torch.eye(3).expand(frames, 21, 3, 3)
    found: list[tuple[float, Fitted]] = []
    for heading in range(HEADINGS):
        facing = rotvec_to_rotmat(torch.tensor([0.0, 0.0, 2 * math.pi * heading / HEADINGS])) @ torch.tensor(_STANDING)
        turn, trans = torch.zeros(frames, 3), _first_place(body, observed)

        def posed(turn: Tensor = turn, trans: Tensor = trans, facing: Tensor = facing) -> Fitted:
            rotmats = torch.cat([(rotvec_to_rotmat(turn) @ facing).unsqueeze(1), rest], 1)
            return _posed(body, rotmats, trans, betas)

        lowest = minimise(
            {"turn": turn, "trans": trans},
            lambda posed=posed: energy(_guess(body, observed, posed()), stage.weights),  # type: ignore[misc]
            stage.iterations,
            on_step,
        )
        found.append((lowest, _detached(posed())))
    return min(found, key=lambda pair: pair[0])[1]


def _fit_pose(
    body: BodyModel, observed: Observations, root: Fitted, stage: Stage, on_step: Callable[[float], None]
) -> Fitted:
    """Every frame's pose, and the shape."""
    variables = {"turn": torch.zeros(len(root.trans), 22, 3), "trans": root.trans.clone(), "betas": root.betas.clone()}

    def posed() -> Fitted:
        rotmats = rotvec_to_rotmat(variables["turn"]) @ root.rotmats
        return _posed(body, rotmats, variables["trans"], variables["betas"])

    minimise(variables, lambda: energy(_guess(body, observed, posed()), stage.weights), stage.iterations, on_step)
    return _detached(posed())


@dataclass(frozen=True, eq=False)
class Problem:
    """What a stage solves: its variables, and the motion and the guess that they stand for now."""

    variables: Mapping[str, Tensor]
    told: Callable[[], tuple[Fitted, Guess]]


def motion_problem(network: Network, body: BodyModel, observed: Observations, pose: Fitted) -> Problem:
    """The last stage's: the first state, the latents, the shape and the floor, all through the network's rollout."""
    states = pose.state()
    first = states.map(lambda x: x[0])
    turns = first.rotmats
    with network.running() as model:
        _, latents = follow(model, states)
    names = ("trans", "trans_vel", "root_orient_vel", "joints_vel")
    variables = {
        **{name: getattr(first, name).clone() for name in names},
        **{
            "turn": turns.new_zeros(22, 3),
            "betas": pose.betas.clone(),
            "floor": turns.new_zeros(3),
            "latents": latents.clone(),
        },
    }

    def told() -> tuple[Fitted, Guess]:
        rotmats, trans = rotvec_to_rotmat(variables["turn"]) @ turns, variables["trans"]
        joints = body(rotmats, variables["betas"], trans).joints
        way, way_vel, spin, joints_vel = (variables[name] for name in names)
        initial = MotionState(way, way_vel, rotmats[0], spin, rotmats[1:], joints, joints_vel)
        motion = _roll(network, initial, variables["latents"])
        posed = _posed(body, motion.states.rotmats, motion.states.trans, variables["betas"])
        return _in_the_world(body, posed, variables["floor"]), _guess(body, observed, posed, variables["floor"], motion)

    return Problem(variables, told)


def _fit_motion(
    network: Network,
    body: BodyModel,
    observed: Observations,
    pose: Fitted,
    stage: Stage,
    on_step: Callable[[float], None],
) -> Fitted:
    """The motion that the network would tell of."""
    problem = motion_problem(network, body, observed, pose)

    def value() -> Tensor:
        return energy(problem.told()[1], stage.weights)

    minimise(problem.variables, value, stage.iterations, on_step, network.scaled)
    return _detached(problem.told()[0])


def _roll(network: Network, initial: MotionState, latents: Float[Tensor, "steps 48"]) -> Told:
    """The rollout of given latents, and what the prior would have expected at each step."""
    with network.running() as model:
        out = model.rollout(initial, len(latents), latents)
        states = followed(initial, out.state)
        pivot = CanonicalFrame.of(initial).pivot
        past = states.map(lambda x: x[:-1])
        prior = model.prior(CanonicalFrame.of(past, pivot.expand(len(latents), 3)).enter(past))
    return Told(states, out.contacts, latents, prior)


def _posed(body: BodyModel, rotmats: Tensor, trans: Tensor, betas: Tensor) -> Fitted:
    joints = body(rotmats, betas.expand(len(trans), -1), trans).joints
    return Fitted(rotmats, trans, betas, joints, torch.zeros(3, device=trans.device))


def _guess(
    body: BodyModel, observed: Observations, posed: Fitted, floor: Tensor | None = None, told: Told | None = None
) -> Guess:
    floor = posed.floor if floor is None else floor
    world = _on_floor(posed.joints, floor)
    rest = body.rest_joints(posed.betas)
    return Guess(posed.rotmats, posed.joints, world, rest, posed.betas, floor, observed, told)


def _on_floor(points: Float[Tensor, "*batch 3"], floor: Float[Tensor, "3"]) -> Float[Tensor, "*batch 3"]:
    """Points over a floor at z = 0 where that floor is in the world."""
    return points @ _tilt(floor).mT + torch.cat([torch.zeros_like(floor[:2]), floor[2:]])


def _tilt(floor: Tensor) -> Tensor:
    return rotvec_to_rotmat(torch.cat([floor[:2], torch.zeros_like(floor[:1])]))


def _in_the_world(body: BodyModel, posed: Fitted, floor: Float[Tensor, "3"]) -> Fitted:
    """A motion over a floor at z = 0 where that floor is in the world; the root joint is what moves."""
    root = body.rest_joints(posed.betas)[0]
    rotmats = torch.cat([_tilt(floor) @ posed.rotmats[:, :1], posed.rotmats[:, 1:]], 1)
    trans = _on_floor(posed.trans + root, floor) - root
    return Fitted(rotmats, trans, posed.betas, _on_floor(posed.joints, floor), floor)


def _first_place(body: BodyModel, observed: Observations) -> Float[Tensor, "frames 3"]:
    """Where the middle of what was seen is: in a picture, as far away as a body of that size would be."""
    there = observed.trust > 0
    rest = (body.rest_joints(torch.zeros(NUM_BETAS)) @ torch.tensor(_STANDING).mT).expand(len(there), -1, -1)
    weights = there.unsqueeze(-1).float()

    def middle(points: Tensor) -> Tensor:  # over all frames where a frame shows nothing
        return torch.where(weights.any(1), (weights * points).sum(1) / weights.sum(1).clamp_min(1), 0) + torch.where(
            weights.any(1), 0, (weights * points).sum((0, 1)) / weights.sum()
        )

    seen, centre = middle(observed.seen), middle(rest)
    if observed.camera is not None:
        heights = [
            (weights[..., 0] * (x - y)).square().sum().sqrt()
            for x, y in ((observed.seen[..., 1], seen[:, None, 1]), (rest[..., 2], centre[:, None, 2]))
        ]
        depth = observed.camera.focal[1] * heights[1] / heights[0].clamp_min(1)
        seen = observed.camera.place(seen, depth.expand(len(seen)))
    return seen - centre


def _carried_on(x: Tensor) -> Tensor:
    """A series with one more element at each end, on the line through its neighbours."""
    return torch.cat([2 * x[:1] - x[1:2], x, 2 * x[-1:] - x[-2:-1]])


def _detached(fitted: Fitted) -> Fitted:
    return Fitted(*(getattr(fitted, name).detach() for name in vars(fitted)))
