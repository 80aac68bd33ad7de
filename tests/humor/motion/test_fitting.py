"""Fitting brings joints nearer to the truth than the observations are."""

import copy
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from humor import BodyModel
from humor.cli.app import main
from humor.cli.fitting import write_results
from humor.data import read_amass, synthetic_motion
from humor.data.store import MotionStore
from humor.io.checkpoints import save_checkpoint
from humor.model import Gaussian
from humor.motion.fit_result import (
    FitResult,
    estimate_floor,
    place_on_floor,
    remove_floor,
    stand_on_floor,
    to_world,
)
from humor.motion.fit_stages import STAGES, Stage, default_stages, make_published_stages
from humor.motion.fit_terms import TERMS, FitState, PriorSteps, energy
from humor.motion.fitting import fit
from humor.motion.generation import Network, joints_of
from humor.motion.motion_priors import MotionPriors
from humor.motion.observations import Observations, PinholeCamera, observe
from humor.motion.prior_problems import rollout_problem, smooth_basis, transition_problem
from humor.state import CanonicalFrame, MotionState
from tests.support import golden_values as golden

FRAMES = 10
LEGS = ("left_knee", "right_knee", "left_ankle", "right_ankle", "left_foot", "right_foot")
# Looks along y from 4 m away and 1 m above the floor.
CAMERA = PinholeCamera(
    torch.tensor([1000.0, 1000.0]),
    torch.tensor([500.0, 500.0]),
    torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]]),
    torch.tensor([0.0, 1.0, 4.0]),
)
SHORT = {**STAGES, "pose": replace(STAGES["pose"], iterations=80), "motion": replace(STAGES["motion"], iterations=30)}


@pytest.fixture(scope="module")
def body():
    return BodyModel.mannequin("neutral")


@pytest.fixture(scope="module")
def clip(body):
    return synthetic_motion({gender: body for gender in ("male", "female", "neutral")}, 1)[0]


@pytest.fixture(scope="module")
def truth(clip):
    joints = clip.state.joints[:FRAMES]
    return joints - torch.cat([joints[0, 0, :2], torch.zeros(1)])


@pytest.fixture(scope="module")
def model():
    return golden.filled_model(1, 0.02)


def error(joints, truth):
    return float(torch.linalg.vector_norm(joints - truth, dim=-1).mean())


def fit_state_of(clip, body):
    """The state of a fit that is the truth, moved to where the first frame is."""
    state = clip.state.map(lambda x: x[:FRAMES])
    prior = Gaussian(torch.zeros(FRAMES - 1, 48), torch.ones(FRAMES - 1, 48))
    reached = state.map(lambda x: x[1:])
    contacts = 20 * clip.contacts[1:FRAMES] - 10
    past = CanonicalFrame.of(state).world_to_canonical(state).map(lambda x: x[:-1])
    steps = PriorSteps(contacts, torch.zeros(FRAMES - 1, 48), prior, state, reached, reached, past)
    return FitState(
        rotmats=state.rotmats,
        joints=state.joints,
        world_joints=state.joints,
        rest_joints=body.rest_joints(clip.betas),
        betas=clip.betas,
        floor=torch.zeros(3),
        observed=observe(state.joints, 1e-6),
        steps=steps,
        priors=MotionPriors.fit(MotionStore.in_memory([clip])),
    )


def bumped(x, by=0.3):
    """One frame of a series, moved: up, where it has axes."""
    moved = x.clone()
    moved[4] += by
    return moved


def faster(states):
    return replace(states, joints_vel=states.joints_vel + 1)


def shrunk(states):
    return replace(states, joints=states.joints * torch.linspace(0.5, 1, FRAMES)[:, None, None])


CHANGES = {
    "data": lambda fit: replace(fit, world_joints=bumped(fit.world_joints)),
    "pose_prior": lambda fit: replace(
        fit, rotmats=torch.cat([fit.rotmats[:, :1], fit.rotmats[:, 1:] @ fit.rotmats[:, 1:]], 1)
    ),
    "pose_mixture": lambda fit: replace(fit, rotmats=fit.rotmats.mT),
    "first_state_mixture": lambda fit: replace(fit, steps=replace(fit.steps, past=faster(fit.steps.past))),
    "angular_smoothness": lambda fit: replace(fit, rotmats=torch.cat([fit.rotmats[:5], fit.rotmats[5:].mT])),
    "smooth": lambda fit: replace(fit, joints=bumped(fit.joints)),
    "penetration": lambda fit: replace(fit, joints=fit.joints - 0.3),
    "shape": lambda fit: replace(fit, betas=3 * fit.betas + 1),
    "floor": lambda fit: replace(fit, floor=torch.tensor([0.1, 0.0, 0.1])),
    "speed": lambda fit: replace(fit, joints=bumped(fit.joints)),
    "latents": lambda fit: replace(fit, steps=replace(fit.steps, latents=fit.steps.latents + 1)),
    "transitions": lambda fit: replace(fit, steps=replace(fit.steps, predicted=faster(fit.steps.predicted))),
    "first_state": lambda fit: replace(fit, steps=replace(fit.steps, states=faster(fit.steps.states))),
    "skeleton": lambda fit: replace(fit, joints=bumped(fit.joints)),
    "bones": lambda fit: replace(fit, rest_joints=1.2 * fit.rest_joints),
    "bone_change": lambda fit: replace(fit, steps=replace(fit.steps, states=shrunk(fit.steps.states))),
    "contact_speed": lambda fit: replace(fit, joints=bumped(fit.joints)),
    "contact_height": lambda fit: replace(fit, joints=fit.joints + 0.3),
}


@pytest.mark.parametrize("name", TERMS)
def test_a_term_is_higher_where_what_it_measures_is_wrong(clip, body, name):
    right = fit_state_of(clip, body)
    wrong = CHANGES[name](right)
    found, worse = TERMS[name](right), TERMS[name](wrong)
    assert found.isfinite()
    assert worse > found + 1


def test_terms_are_negative_log_probabilities(clip, body):
    """Of normal distributions, up to a constant, where no observation is an outlier."""
    noise = 0.05
    state = fit_state_of(clip, body)
    state = replace(state, observed=observe(state.world_joints, noise, seed=3))
    away = state.world_joints - state.observed.joints
    near = away.abs() < 3 * noise
    normal = torch.distributions.Normal(0.0, noise)
    linear = (3 * (away.abs() / noise) - 4.5)[~near].sum()
    expected = -(normal.log_prob(away) - normal.log_prob(torch.zeros(())))[near].sum() + linear
    torch.testing.assert_close(TERMS["data"](state), expected, rtol=1e-4, atol=1e-3)
    z, mean, var = torch.randn(9, 48), torch.randn(9, 48), torch.rand(9, 48) + 0.1
    steps = replace(state.steps, latents=z, prior=Gaussian(mean, var))
    expected = -torch.distributions.Normal(mean, var.sqrt()).log_prob(z).sum() - 0.5 * np.log(2 * np.pi) * z.numel()
    torch.testing.assert_close(TERMS["latents"](replace(state, steps=steps)), expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    ("camera", "noise", "hidden", "bound"), [(None, 0.04, (), 0.75), (None, 0.04, LEGS, None), (CAMERA, 5.0, (), None)]
)
def test_fitting_finds_the_motion(model, body, truth, camera, noise, hidden, bound, device):
    observed = observe(truth, noise, hidden, camera)
    evaluations = []
    network = Network(copy.deepcopy(model), device=device)
    note = lambda stage, value: evaluations.append((stage, value))  # noqa: E731
    pose = fit(network, copy.deepcopy(body), observed, SHORT, note)["pose"].joints.cpu()
    there = observed.confidence > 0
    if bound is not None:
        assert error(pose, truth) < bound * error(observed.joints, truth)
    assert error(pose[there], truth[there]) < (0.05 if camera is None else 0.30)  # depth is hard to see
    seen = pose if camera is None else camera.project(pose)
    exact = truth if camera is None else camera.project(truth)
    assert error(seen[there], exact[there]) < error(observed.joints[there], exact[there])
    asked = {f"{stage}, {side} arm hidden" for stage in STAGES for side in ("left", "right")} if hidden else set()
    assert {stage for stage, _ in evaluations} == set(STAGES) | asked
    last = [value for stage, value in evaluations if stage == "motion"]
    assert min(last) < 0.9 * last[0]


def together(*motions):
    """Several motions of one length, along a new first axis."""
    names = [name for name, x in vars(motions[0]).items() if x is not None]
    return type(motions[0])(**{name: torch.stack([getattr(each, name) for each in motions]) for name in names})


LAST = {
    "transitions": (transition_problem, STAGES["motion"].weights),
    "rollout": (rollout_problem, make_published_stages(observe(torch.zeros(FRAMES, 22, 3), 0.04))["motion"].weights),
}


@pytest.mark.parametrize("kind", LAST)
def test_motions_fitted_together_have_the_energies_and_gradients_that_each_has_alone(model, body, clip, kind):
    make_problem, weights = LAST[kind]
    starts = (0, 7, 20)
    states = [clip.state.map(lambda x, at=start: x[at : at + FRAMES]) for start in starts]
    tilts = [torch.tensor([0.02 * start, -0.01, 0.03]) for start in starts]
    poses = [FitResult(s.rotmats, s.trans, clip.betas + k, s.joints, torch.zeros(3)) for k, s in enumerate(states)]
    observations = [observe(state.joints, 0.04, seed=k) for k, state in enumerate(states)]
    observed_together = Observations(
        torch.stack([each.joints for each in observations]),
        torch.stack([each.confidence for each in observations]),
        0.04,
    )

    def evaluate(observed, pose, tilt):
        problem = make_problem(Network(model), body, observed, pose)
        problem.variables["floor"].copy_(tilt)
        leaves = [x.requires_grad_() for x in problem.variables.values()]
        result, state = problem.evaluate(None)
        found = energy(state, weights)
        return result, found, torch.autograd.grad(found.sum(), leaves, allow_unused=True)

    alone = [evaluate(*given) for given in zip(observations, poses, tilts, strict=True)]
    fitted, found, gradients = evaluate(observed_together, together(*poses), torch.stack(tilts))
    torch.testing.assert_close(found, torch.stack([each[1] for each in alone]), rtol=1e-4, atol=1e-3)
    for name in vars(fitted):
        expected = torch.stack([getattr(each[0], name) for each in alone])
        torch.testing.assert_close(getattr(fitted, name), expected, rtol=1e-4, atol=1e-4)
    for gradient, *expected in zip(gradients, *(each[2] for each in alone), strict=True):
        expected = torch.stack(expected)
        assert (gradient - expected).norm() < 1e-3 * expected.norm()


@pytest.mark.parametrize("camera", [None, CAMERA])
def test_motions_are_fitted_together_each_with_its_own_heading(model, body, truth, camera):
    back = truth * torch.tensor([-1.0, -1.0, 1.0])
    both = torch.stack([truth, back])
    noise = 0.01 if camera is None else 2.0
    motion = Stage("transitions", 2, {"data": 1})
    few = {"root": STAGES["root"], "pose": replace(STAGES["pose"], iterations=60), "motion": motion}
    observed = observe(both, noise, LEGS[-2:], camera)
    found = fit(Network(model), body, observed, few)
    for fitted in found.values():
        assert fitted.state().batch_shape == (2, FRAMES)
    facing = found["root"].rotmats[:, 0, 0, :2, 0]
    assert torch.cosine_similarity(*facing, dim=0) < -0.9
    exact, seen = (x if camera is None else camera.project(x) for x in (both, found["pose"].joints))
    for one, other in zip(seen, exact, strict=True):
        assert error(one, other) < 5 * noise


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_what_a_stage_finds_is_posed_by_its_own_parameters(model, body, truth, precision):
    for fitted in fit(Network(model, precision), body, observe(truth, 0.04), SHORT).values():
        joints = body(fitted.rotmats, fitted.betas.expand(FRAMES, -1), fitted.trans).joints
        torch.testing.assert_close(fitted.joints, joints, atol=1e-5, rtol=0)
        turned = fitted.rotmats @ fitted.rotmats.mT
        torch.testing.assert_close(turned, torch.eye(3).expand_as(turned), atol=1e-4, rtol=0)
        assert not fitted.joints.requires_grad
    assert fitted.floor.any()


def test_the_state_of_a_motion_moves_as_its_joints_do(clip, body, truth, model):
    fitted = fit(Network(model), body, observe(truth, 1e-3), {**SHORT, "motion": Stage("transitions", 1, {"data": 1})})[
        "pose"
    ]
    state = fitted.state()
    assert isinstance(state, MotionState)
    torch.testing.assert_close(state.joints_vel[1:-1], (state.joints[2:] - state.joints[:-2]) * 15)
    torch.testing.assert_close(state.joints_vel[0], (state.joints[1] - state.joints[0]) * 30)
    spin = 30 * (state.root_orient[1] @ state.root_orient[0].mT)
    torch.testing.assert_close(state.root_orient_vel[0, 2], (spin[1, 0] - spin[0, 1]) / 2, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_the_last_stage_descends_in_half_precision(model, body, truth, precision):
    evaluations = []
    stages = {**SHORT, "pose": replace(STAGES["pose"], iterations=20)}
    fit(Network(model, precision), body, observe(truth, 0.04), stages, lambda *step: evaluations.append(step))
    last = [value for stage, value in evaluations if stage == "motion"]
    assert min(last) < 0.95 * last[0]


def test_the_command_writes_what_it_finds_and_prints_the_errors(model, body, truth, tmp_path, capsys, monkeypatch):
    for name, stage in SHORT.items():
        monkeypatch.setitem(STAGES, name, stage)
    save_checkpoint({"model": model.state_dict()}, tmp_path / "net.pth")
    observed = truth + 0.04 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))
    path = tmp_path / "o.npz"
    np.savez(path, joints3d=observed.numpy(), truth=truth.numpy(), noise=0.04)
    main(
        ["fit", "--observations", str(path), "--checkpoint", str(tmp_path / "net.pth"), "--out", str(tmp_path / "out")]
    )
    shown = capsys.readouterr().out
    rows = [[cell.strip() for cell in line.split("│")] for line in shown.splitlines() if "│" in line]
    printed = {row[1]: float(row[3]) for row in rows}
    assert printed["observed"] == pytest.approx(1000 * error(observed, truth), abs=0.06)
    joints = joints_of(read_amass(tmp_path / "out" / "pose.npz"), body)
    assert printed["pose"] == pytest.approx(1000 * error(joints, truth), abs=0.06)
    assert len(read_amass(tmp_path / "out" / "motion.npz").poses) == FRAMES
    assert (tmp_path / "out" / "motion.html").is_file()
    with np.load(tmp_path / "out" / "fit.npz") as arrays:
        assert arrays["contacts"].shape == (FRAMES, 9)
        assert arrays["floor"].shape == (3,)
    written = json.loads((tmp_path / "out" / "fit.json").read_text())["stages"]
    assert written["pose"]["truth_mm"] == pytest.approx(printed["pose"], abs=0.06)
    # Of several files, each has its folder, and what is there stays as it is.
    folder = tmp_path / "many"
    folder.mkdir()
    for name in ("a", "b"):
        np.savez(folder / f"{name}.npz", joints3d=observed.numpy(), noise=0.04)
    (tmp_path / "all" / "a").mkdir(parents=True)
    (tmp_path / "all" / "a" / "fit.json").write_text("{}")
    command = ["fit", "--observations", str(folder), "--checkpoint", str(tmp_path / "net.pth")]
    main([*command, "--out", str(tmp_path / "all")])
    assert (tmp_path / "all" / "b" / "motion.npz").is_file()
    assert not (tmp_path / "all" / "a" / "motion.npz").is_file()


def test_the_basis_over_time_makes_smoothness_cost_every_variable_alike():
    """Of half a squared distance and the term `smooth`, the curvature is the identity."""
    frames = 12
    basis = smooth_basis(frames).double()
    differences = torch.zeros(frames, frames, dtype=torch.float64)  # with mirrored ends, as cosines have
    for frame in range(frames):
        for other in (max(frame - 1, 0), min(frame + 1, frames - 1)):
            differences[frame, other] += 1
        differences[frame, frame] -= 2
    ratio = (0.04 * 900 / 10) ** 2
    curvature = torch.eye(frames, dtype=torch.float64) + ratio * differences.T @ differences
    torch.testing.assert_close(basis.T @ curvature @ basis, torch.eye(frames, dtype=torch.float64), atol=1e-5, rtol=0)


def test_a_floor_is_removed_as_it_was_placed():
    points, floor = torch.randn(3, 5, 4, 3), 0.3 * torch.randn(3, 3)
    torch.testing.assert_close(remove_floor(place_on_floor(points, floor), floor), points, atol=1e-5, rtol=1e-5)


def test_a_motion_that_stands_on_its_floor_is_upright_and_goes_back_to_the_world(body, clip):
    state, floor = clip.state.map(lambda x: x[:FRAMES]), torch.tensor([0.3, -0.2, 1.5])
    level = FitResult(state.rotmats, state.trans, clip.betas, state.joints, torch.zeros(3))
    in_world = to_world(body, level, floor)
    back = stand_on_floor(body, in_world, floor)
    torch.testing.assert_close(back.joints, state.joints, atol=1e-5, rtol=1e-5)
    posed = body(back.rotmats, clip.betas.expand(FRAMES, -1), back.trans).joints
    torch.testing.assert_close(posed, state.joints, atol=1e-5, rtol=1e-5)
    estimated = estimate_floor(in_world)
    assert (estimated[:2] - floor[:2]).abs().max() < 0.1
    assert stand_on_floor(body, in_world, estimated).joints[..., 2].amin(-1).abs().median() < 0.05


@pytest.mark.slow  # four headings are posed, and all poses of a walk
def test_a_walk_is_fitted_where_only_the_focal_length_is_known(model, body, clip):
    """The camera looks down by 0.2 rad from 1.7 m; found are the poses, the floor's tilt and roughly its height."""
    down, frames = 0.2, 30
    truth = clip.state.joints[:frames] - torch.cat([clip.state.joints[15, 0, :2], torch.zeros(1)])
    look = torch.tensor([[1.0, 0, 0], [0, np.cos(down), -np.sin(down)], [0, np.sin(down), np.cos(down)]]).float()
    rotation = look @ CAMERA.rotation
    camera = PinholeCamera(CAMERA.focal, CAMERA.centre, rotation, -rotation @ torch.tensor([0.0, -4.5, 1.7]))
    seen = observe(truth, 3.0, camera=camera)
    unknown = replace(CAMERA, translation=torch.zeros(3))
    observed = replace(seen, camera=unknown, truth=None, floor_known=False)
    stages = default_stages(observed)
    stages["motion"] = replace(stages["motion"], iterations=40)
    fitted = fit(Network(model), body, observed, stages)["motion"]
    in_camera = truth @ rotation.mT + camera.translation
    found = fitted.joints @ unknown.rotation.mT
    of_root = lambda joints: joints - joints[:, :1]  # noqa: E731
    assert error(of_root(found), of_root(in_camera)) < 0.12
    assert abs(fitted.floor[0] - down) < 0.2
    assert -2.7 < fitted.floor[2] < -1.2


@pytest.mark.parametrize(
    "kinds",
    [
        ("keypoints",),
        pytest.param(("points",), marks=pytest.mark.slow),
        pytest.param(("joints", "keypoints", "points"), marks=pytest.mark.slow),
    ],
)
def test_a_body_is_fitted_to_its_surface(body, clip, model, kinds):
    frames, betas = 6, clip.betas.expand(6, -1)
    state = clip.state.map(lambda x: x[:frames])
    surface = body(state.rotmats, betas, state.trans, vertices="all").vertices
    given = {
        "joints": state.joints,
        "keypoints": body(state.rotmats, betas, state.trans, vertices="keypoints").vertices,
        "points": surface[:, 3::40],
    }
    parts = [Observations(given[kind], torch.ones(given[kind].shape[:-1]), 0.02, kind=kind) for kind in kinds]
    observed = replace(parts[0], also=tuple(parts[1:]))
    few = {**SHORT, "motion": Stage("transitions", 2, {"data": 1})}
    found = fit(Network(model), body, observed, few)["pose"].joints
    assert error(found, state.joints) < (0.15 if kinds == ("points",) else 0.06)


def test_the_published_stages_grow_and_count_contacts_last(body, clip, model):
    observed = observe(clip.state.joints[:20], 0.04)
    published = make_published_stages(observed)
    assert [stage.iterations for stage in published.values()] == [600, 1400, 600, 500, 300]
    assert [stage.frames for stage in published.values()] == [None, None, 15, None, None]
    assert [name for name, stage in published.items() if "contact_speed" in stage.weights] == ["motion"]
    # At 40 mm of noise, of squared metres in units of its variance: a half of a square counts 1 / 0.0016.
    assert published["motion"].weights["latents"] == pytest.approx(0.625)
    assert published["motion"].weights["contact_speed"] / 0.1**2 * 30**2 == pytest.approx(625)
    assert published["motion"].weights["shape"] / 2 * 60 / 20 == pytest.approx(6.3, rel=0.01)
    few = {name: replace(stage, iterations=2) for name, stage in published.items()}
    results = fit(Network(model), body, observed, few)
    assert list(results) == list(published)
    first, grown = results["motion of 15 frames"], results["motion from there"]
    assert torch.equal(first.rotmats[0, 1:], grown.rotmats[0, 1:])
    assert not torch.equal(grown.rotmats[0, 1:], results["motion"].rotmats[0, 1:])
    assert results["motion"].contacts.shape == (20, 9)


def test_the_errors_of_a_fit_to_a_surface_are_written_as_json(body, clip, tmp_path, capsys):
    joints = clip.state.joints[:FRAMES]
    surface = Observations(torch.ones(FRAMES, 43, 3), torch.ones(FRAMES, 43), 0.02, truth=joints, kind="keypoints")
    rotmats, trans = clip.state.rotmats[:FRAMES], clip.state.trans[:FRAMES]
    result = FitResult(rotmats, trans, clip.betas, joints + torch.tensor([0.01, 0, 0]), torch.zeros(3))
    write_results(tmp_path, surface, {"motion": result})

    def refuse(constant):
        raise ValueError(constant)

    written = json.loads((tmp_path / "fit.json").read_text(), parse_constant=refuse)["stages"]["motion"]
    assert (written["observed"], written["hidden_mm"]) == (None, None)
    assert written["truth_mm"] == pytest.approx(10, abs=0.01)
    assert "10.0" in capsys.readouterr().out
