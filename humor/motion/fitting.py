"""Fit motion to observations in stages, the last through the motion prior.

Source: Rempe et al. 2021, section 4: first the position and heading of the body, then its pose and shape, then the
motion with the prior. There, the last stage's variables are the first state and the latents, and the motion is their
rollout (`make_published_stages`). Here, they are the poses and the latents of all frames, and each step of the network
starts from the pose before it (`fit_stages.STAGES`): all steps are computed together, and an error does not grow along
the rollout. Poses vary in a basis of cosines over time, in which smoothness costs every variable alike; so L-BFGS
converges within some hundred iterations, where it does not within thousands otherwise.
"""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from ..body import BodyModel
from ..errors import SettingError
from ..rotations import Y_UP_TO_Z_UP, rotvec_to_rotmat
from ..skeleton import NUM_BETAS
from .fit_result import FitResult, pose_motion, state_for_terms
from .fit_stages import MIXTURES, Stage, default_stages
from .fit_terms import FitState, energy, standing_rotmats
from .generation import Network
from .lbfgs import minimise
from .motion_priors import MotionPriors
from .observations import Observations
from .prior_problems import Problem, free_motion, rollout_problem, transition_problem
from .prior_share import ITERATIONS, choose_share, interpolate

HEADINGS = 4  # that the first stage starts from, evenly around
PRIOR_PROBLEMS = {"transitions": transition_problem, "rollout": rollout_problem}


def fit(
    network: Network,
    body: BodyModel,
    observed: Observations,
    stages: Mapping[str, Stage] | None = None,
    on_step: Callable[[str, float], None] = lambda stage, energy: None,
    on_result: Callable[[str, FitResult], None] = lambda stage, result: None,
    priors: MotionPriors | None = None,
    follow_prior: bool = False,
) -> dict[str, FitResult]:
    """Fit motion to observations; returns the result of each stage, by name.

    The stages are those of `default_stages` if left out. That of the motion prior is followed as far as `prior_share`
    finds right, which takes further fits where a limb is hidden all the time; with `follow_prior`, wholly.
    Several motions of one length, along leading axes, are fitted together: the sum of their energies is minimised.
    Stages that weigh mixtures need `priors`; raises SettingError where they are missing.
    `on_step` is called with the stage and the energy of each evaluation, `on_result` with each stage's result.
    """
    observed = observed.map(lambda x: x.to(network.device))
    body = copy.deepcopy(body).to(network.device)  # the caller's stays where it is
    stages = default_stages(observed, priors is not None) if stages is None else stages
    if priors is None and any(MIXTURES.keys() & stage.weights.keys() for stage in stages.values()):
        raise SettingError("these stages weigh mixtures over poses or first states; give priors fitted on a store.")
    solver = _Solver(network, body, observed, stages, on_step, priors and priors.to(network.device))
    results: dict[str, FitResult] = {}
    candidates: list[tuple[Tensor, FitResult]] = []
    problem, of = None, ""
    with network.device:  # on which new tensors are created
        for name, stage in stages.items():
            if stage.problem == "root":
                candidates = [solver.solve(name, _root_problem(body, observed, heading)) for heading in range(HEADINGS)]
                results[name] = _choose_best(candidates)
            elif stage.problem == "pose":
                starts = [results["root"]] if observed.front_known else [start for _, start in candidates]
                results[name] = _choose_best(
                    [solver.solve(name, pose_problem(body, observed, start)) for start in starts]
                )
            else:
                before = next(reversed(results.values()))
                if problem is None or stage.problem != of:  # stages of one kind go on with its variables
                    problem, of = PRIOR_PROBLEMS[stage.problem](network, body, observed, before), stage.problem
                if stage.problem == "transitions" and not follow_prior:
                    results[name] = solver.follow_prior(name, problem, before)
                else:
                    _, results[name] = solver.solve(name, problem)
            on_result(name, results[name])
    return results


@dataclass(frozen=True, eq=False)
class _Solver:
    """Solves the stages of one fit."""

    network: Network
    body: BodyModel
    observed: Observations
    stages: Mapping[str, Stage]
    on_step: Callable[[str, float], None]
    priors: MotionPriors | None

    def solve(self, name: str, problem: Problem) -> tuple[Float[Tensor, "*batch"], FitResult]:
        """Minimise a stage's energy; returns it and what it leads to."""
        stage = self.stages[name]

        def energies() -> Tensor:
            return energy(replace(problem.evaluate(stage.frames)[1], priors=self.priors), stage.weights)

        leaves = {name: x for name, x in problem.variables.items() if name not in stage.fixed}
        scaled = self.network.scaled and stage.problem in ("transitions", "rollout")
        minimise(leaves, lambda: energies().sum(), stage.iterations, lambda value: self.on_step(name, value), scaled)
        for variable in problem.variables.values():
            variable.requires_grad_(False)
        with torch.no_grad():
            return energies(), problem.evaluate(None)[0].detach()

    def follow_prior(self, name: str, problem: Problem, before: FitResult) -> FitResult:
        """Solve the stage of the motion prior, and follow it from the one before as far as is right."""
        with torch.no_grad():
            start = problem.evaluate(None)[1]
        _, result = self.solve(name, problem)
        share = choose_share(self.body, self.observed, start, partial(self._fit_hiding, name))
        return interpolate(self.body, before, result, share) if bool((share < 1).any()) else result

    def _fit_hiding(self, last: str, limb: str, observed: Observations) -> tuple[FitResult, FitResult]:
        """Fit as far as a stage with a limb hidden; returns the stage before it and the stage."""
        names = list(self.stages)[: list(self.stages).index(last) + 1]
        stages = {name: self.stages[name] for name in names}
        stages[last] = replace(stages[last], iterations=min(stages[last].iterations, ITERATIONS))

        def note(stage: str, energy: float) -> None:
            self.on_step(f"{stage}, {limb} hidden", energy)

        found = fit(self.network, self.body, observed, stages, note, priors=self.priors, follow_prior=True)
        return found[names[-2]], found[last]


def pose_problem(body: BodyModel, observed: Observations, root: FitResult) -> Problem:
    """Solve for the pose of every frame, and the shape."""
    variables, pose = free_motion(body, root)

    def evaluate(frames: int | None = None) -> tuple[FitResult, FitState]:
        posed = pose()
        return posed, state_for_terms(body, observed, posed)

    return Problem(variables, evaluate)


def _root_problem(body: BodyModel, observed: Observations, heading: int) -> Problem:
    """Solve for the position and orientation of the body standing, from one of HEADINGS."""
    shape = observed.confidence.shape[:-1]
    betas, rest = torch.zeros(*shape[:-1], NUM_BETAS), standing_rotmats(torch.device("cpu")).to(observed.joints)
    facing = rotvec_to_rotmat(torch.tensor([0.0, 0.0, 2 * math.pi * heading / HEADINGS])) @ torch.tensor(Y_UP_TO_Z_UP)
    variables = {"rotvec": torch.zeros(*shape, 3), "trans": _initial_translation(body, observed)}

    def evaluate(frames: int | None = None) -> tuple[FitResult, FitState]:
        root = rotvec_to_rotmat(variables["rotvec"]) @ facing
        rotmats = torch.cat([root.unsqueeze(-3), rest.expand(*shape, 21, 3, 3)], -3)
        posed = pose_motion(body, rotmats, variables["trans"], betas)
        return posed, state_for_terms(body, observed, posed)

    return Problem(variables, evaluate)


def _choose_best(candidates: Sequence[tuple[Float[Tensor, "*batch"], FitResult]]) -> FitResult:
    """For each motion, the candidate with the lowest energy."""
    energies, fits = zip(*candidates, strict=True)
    lowest = torch.stack(energies).nan_to_num(math.inf).argmin(0)

    def choose(options: Sequence[Tensor]) -> Tensor:
        stacked = torch.stack(list(options))
        index = lowest.reshape(1, *lowest.shape, *[1] * (stacked.dim() - 1 - lowest.dim()))
        return torch.take_along_dim(stacked, index, 0)[0]

    names = ("rotmats", "trans", "betas", "joints", "floor")
    return FitResult(*(choose([getattr(fitted, name) for fitted in fits]) for name in names))


def _initial_translation(body: BodyModel, observed: Observations) -> Float[Tensor, "*batch frames 3"]:
    """The middle of what is observed in space; or in an image, at the depth at which a body would appear that large."""
    observed = next((part for part in observed.parts if part.camera is None), observed)
    present = observed.confidence > 0
    rest = body.rest_joints(torch.zeros(NUM_BETAS)) @ torch.tensor(Y_UP_TO_Z_UP).mT
    weights = present.unsqueeze(-1).float()

    def middle(points: Tensor) -> Tensor:  # of a frame; of all frames for one without joints
        of_all = (weights * points).sum((-3, -2)) / weights.sum((-3, -2))
        of_frame = (weights * points).sum(-2) / weights.sum(-2).clamp_min(1)
        return torch.where(weights.any(-2), of_frame, of_all.unsqueeze(-2))

    target = middle(observed.joints)
    if observed.kind != "joints":
        return target - rest.mean(0)
    rest = rest.expand(*present.shape, -1)
    centre = middle(rest)
    if observed.camera is not None:
        heights = [
            (weights[..., 0] * (x - y)).square().sum((-2, -1)).sqrt()
            for x, y in ((observed.joints[..., 1], target[..., 1:2]), (rest[..., 2], centre[..., 2:]))
        ]
        depth = observed.camera.focal[1] * heights[1] / heights[0].clamp_min(1)
        target = observed.camera.unproject(target, depth.unsqueeze(-1).expand(target.shape[:-1]))
    return target - centre
