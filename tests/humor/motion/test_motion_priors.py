"""Mixtures over poses and first states are fitted on a store's training motion, and fitting uses them."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from humor import BodyModel
from humor.cli.app import main
from humor.data import synthetic_motion
from humor.data.clip_files import write_processed
from humor.data.preprocess import CLIPS_FOLDER, build_store
from humor.data.store import MotionStore
from humor.errors import MotionError, SettingError
from humor.io.checkpoints import save_checkpoint
from humor.motion.fit_result import FitResult
from humor.motion.fit_stages import STAGES, default_stages, make_published_stages
from humor.motion.fit_terms import TERMS
from humor.motion.fitting import fit
from humor.motion.generation import Network
from humor.motion.motion_priors import MOST_FRAMES, MotionPriors, first_state_vector, pose_vector
from humor.motion.observations import observe
from humor.motion.prior_problems import rollout_problem, transition_problem
from humor.rotations import rotvec_to_rotmat
from humor.state import CanonicalFrame, MotionState
from tests.support import golden_values as golden

FRAMES = 10
LEGS = ("left_knee", "right_knee", "left_ankle", "right_ankle", "left_foot", "right_foot")
SETTINGS = {"default": default_stages, "published": make_published_stages}


def observed_at_rest():
    return observe(torch.zeros(FRAMES, 22, 3), 0.04)


@pytest.fixture(scope="module")
def body():
    return BodyModel.mannequin("neutral")


@pytest.fixture(scope="module")
def clips(body):
    return synthetic_motion({gender: body for gender in ("male", "female", "neutral")}, 4)


@pytest.fixture(scope="module")
def priors(clips):
    return MotionPriors.fit(MotionStore.in_memory(clips[1:]))


@pytest.fixture(scope="module")
def network():
    return Network(golden.filled_model(1, 0.02))


def turned(state, angle=0.7):
    """The same motion elsewhere and about z; the root joint is as far from `trans` as before, as a body's is."""
    rotmat = rotvec_to_rotmat(torch.tensor([0.0, 0.0, angle]))
    joints = state.joints @ rotmat.mT + torch.tensor([1.0, -2.0, 0.0])
    return MotionState(
        joints[..., 0, :] - (state.joints[..., 0, :] - state.trans),
        *(state.trans_vel @ rotmat.mT, rotmat @ state.root_orient, state.root_orient_vel @ rotmat.mT),
        *(state.pose_body, joints, state.joints_vel @ rotmat.mT),
    )


def canonical(state):
    return CanonicalFrame.of(state).world_to_canonical(state)


@pytest.mark.parametrize("angle", [0.0, 1e-6, 0.01, 1.0, 2.5, 3.1])
def test_a_rotation_is_twice_the_sine_of_half_its_angle_along_its_axis(angle):
    axes = torch.nn.functional.normalize(torch.randn(21, 3, generator=torch.Generator().manual_seed(0)), dim=-1)
    rotvec = (angle * axes).requires_grad_()
    found = pose_vector(rotvec_to_rotmat(rotvec))
    torch.testing.assert_close(found, (2 * math.sin(angle / 2) * axes).flatten(), atol=2e-5, rtol=1e-5)
    gradient = torch.autograd.grad(found.sum(), rotvec)[0]
    assert gradient.isfinite().all()
    if angle < 0.1:
        torch.testing.assert_close(gradient, torch.ones(21, 3), atol=0.02, rtol=0)


def test_a_first_state_is_the_same_wherever_the_motion_is_and_goes(clips):
    state = clips[0].state
    here, there = (first_state_vector(canonical(each)) for each in (state, turned(state)))
    assert here.shape == (len(state.trans), 138)
    torch.testing.assert_close(here, there, atol=1e-4, rtol=0)


def test_a_stores_motion_is_likelier_than_the_same_disturbed(clips, priors):
    held_out = clips[0].state
    poses, first = pose_vector(held_out.pose_body), first_state_vector(canonical(held_out))
    for mixture, x in ((priors.poses, poses), (priors.first_states, first)):
        noise = 0.5 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
        assert (mixture.log_prob(x) > mixture.log_prob(x + noise) + 10).all()


@pytest.mark.parametrize("frames", [1, 5, 130])
def test_a_small_store_has_priors(clips, frames):
    """With fewer components, where there are few frames."""
    few = replace(clips[1], state=clips[1].state.map(lambda x: x[:frames]), contacts=clips[1].contacts[:frames])
    priors = MotionPriors.fit(MotionStore.in_memory([few]))
    assert priors.frames == frames
    assert len(priors.poses.means) == len(priors.first_states.means) == max(1, frames // 60)
    assert priors.poses.log_prob(pose_vector(clips[0].state.pose_body)).isfinite().all()
    assert priors.first_states.log_prob(first_state_vector(canonical(clips[0].state))).isfinite().all()


def test_at_most_so_many_frames_are_used_of_all_clips(clips, monkeypatch):
    monkeypatch.setattr("humor.motion.motion_priors.MOST_FRAMES", 50)
    assert MotionPriors.fit(MotionStore.in_memory(clips)).frames == 50 < MOST_FRAMES


@pytest.mark.parametrize("name", ["SFU/a", "HumanEva/a"])
def test_validation_and_test_subsets_are_left_out(clips, name):
    other = replace(clips[0], name=name)
    alone, with_other = (MotionPriors.fit(MotionStore.in_memory(some)) for some in (clips[1:2], [other, clips[1]]))
    assert torch.equal(alone.poses.means, with_other.poses.means)
    with pytest.raises(MotionError, match="no training motion"):
        MotionPriors.fit(MotionStore.in_memory([other]))


def test_both_problems_look_at_one_first_state_in_its_canonical_frame(clips, body, network, priors):
    state = clips[0].state.map(lambda x: x[:FRAMES])
    found = []
    for moved in (state, turned(state)):
        pose = FitResult(moved.rotmats, moved.trans, clips[0].betas, moved.joints, torch.zeros(3))
        for make in (transition_problem, rollout_problem):
            terms = make(network, body, observe(moved.joints, 0.04), pose).evaluate(None)[1]
            found.append(TERMS["first_state_mixture"](replace(terms, priors=priors)))
    exact = FitResult(state.rotmats, state.trans, clips[0].betas, state.joints, torch.zeros(3)).state()
    expected = -priors.first_states.log_prob(first_state_vector(canonical(exact.map(lambda x: x[0]))))
    torch.testing.assert_close(torch.stack(found), expected.expand(4).to(found[0].dtype), atol=0.5, rtol=1e-3)


@pytest.mark.parametrize("of", SETTINGS)
def test_stages_weigh_mixtures_with_priors_alone(of):
    with_priors, without = (
        {name for stage in SETTINGS[of](observed_at_rest(), priors).values() for name in stage.weights}
        for priors in (True, False)
    )
    assert "pose_mixture" in with_priors - without
    assert "pose_prior" in without - with_priors
    assert "first_state_mixture" in with_priors - without
    assert "first_state" not in with_priors


def test_stages_that_weigh_mixtures_need_priors(body, network):
    with pytest.raises(SettingError, match="give priors"):
        fit(network, body, observed_at_rest(), default_stages(observed_at_rest(), priors=True))


def test_with_priors_hidden_joints_are_nearer_to_the_truth(clips, body, network, priors):
    truth = clips[0].state.joints[:FRAMES]
    truth = truth - torch.cat([truth[0, 0, :2], torch.zeros(1)])
    observed, errors = observe(truth, 0.04, LEGS), []
    for given in (None, priors):
        few = default_stages(observed, given is not None)
        few = {"root": few["root"], "pose": replace(few["pose"], iterations=40)}
        joints = fit(network, body, observed, few, priors=given)["pose"].joints
        errors.append(torch.linalg.vector_norm(joints - truth, dim=-1))
    hidden = observed.confidence <= 0
    without, with_priors = errors
    assert with_priors[hidden].mean() < without[hidden].mean()
    assert with_priors.mean() < without.mean()


def test_the_command_fits_priors_on_a_store_and_says_so(clips, network, tmp_path, capsys, monkeypatch):
    store = tmp_path / "store"
    for clip in clips[1:]:
        write_processed(store / CLIPS_FOLDER / f"{clip.name}.npz", clip)
    build_store(store)
    for name, stage in STAGES.items():
        monkeypatch.setitem(STAGES, name, replace(stage, iterations=1))
    save_checkpoint({"model": network.model.state_dict()}, tmp_path / "net.pth")
    np.savez(tmp_path / "o.npz", joints3d=clips[0].state.joints[:FRAMES].numpy())
    given = ["--observations", str(tmp_path / "o.npz"), "--checkpoint", str(tmp_path / "net.pth")]
    poses = {}
    for name, data in (("with", ["--data", str(store)]), ("without", [])):
        main(["fit", *given, *data, "--out", str(tmp_path / name)])
        assert ("mixtures of" in capsys.readouterr().out) == bool(data)
        poses[name] = np.load(tmp_path / name / "motion.npz")["poses"]
    assert not np.allclose(poses["with"], poses["without"])
