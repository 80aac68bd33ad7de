"""The names that code outside this repository uses keep their place, their arguments and their results."""

import inspect
import subprocess
import sys
from dataclasses import fields
from operator import attrgetter

import pytest
import torch

import humor
import humor.data
import humor.lifting
from tests.support import golden_values as golden
from tests.support.random_states import random_state

SIGNATURES = {
    "BodyModel.load": "(path)",
    "BodyModel.mannequin": "(gender='neutral')",
    "BodyModel.__call__": "(rotmats, betas, trans, vertices='none')",
    "MotionState.to_vector": "(rotations='rotmat')",
    "HumorModel": "(width=1)",
    "HumorModel.load_checkpoint": "(path)",
    "HumorModel.__call__": "(past, current, noise=None)",
    "HumorModel.rollout": (
        "(initial, steps, latents=None, use_mean=False, generator=None, decoder=None, joint_inputs=None)"
    ),
    "HumorLoss": "(bodies, weights=None, mesh='fused', kinematics='operators')",
    "HumorLoss.__call__": "(out, target, target_contacts, betas, gender, epoch)",
    "Precision": "(name)",
    "rotations.rotvec_to_rotmat": "(rotvec)",
    "data.evaluation_windows": "(clips)",
    "lifting.PoseFormer": "(frames=81)",
    "lifting.PoseFormerV2": "(frames=243, kept_frames=27, coefficients=27)",
}
FIELDS = {
    "MotionState": ["trans", "trans_vel", "root_orient", "root_orient_vel", "pose_body", "joints", "joints_vel"],
    "model.Gaussian": ["mean", "var"],
    "model.Transition": ["state", "contacts", "posterior", "prior"],
    "body.PosedBody": ["joints", "vertices"],
}


def test_the_package_exports_the_small_library_alone():
    assert humor.__all__ == [
        "BodyModel", "HumorError", "HumorLoss", "HumorModel", "LossWeights", "MotionState", "Precision", "model",
        "rotations",
    ]  # fmt: skip
    assert all(hasattr(humor, name) for name in humor.__all__)
    with pytest.raises(AttributeError, match="'humor' has no attribute 'nothing'"):
        _ = humor.nothing


def test_folders_are_imported_when_they_are_first_used():
    program = (
        "import sys, humor; names = ('data', 'training', 'motion', 'lifting', 'study'); "
        "folders = {f'humor.{name}' for name in names}; assert not folders & set(sys.modules); "
        "humor.data.process_clip, humor.data.evaluation_windows, humor.lifting.PoseFormer, humor.lifting.PoseFormerV2; "
        "humor.training, humor.motion, humor.study; assert folders <= set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("name", SIGNATURES)
def test_arguments_keep_their_names_order_and_defaults(name):
    called = attrgetter(name.replace("__call__", "forward"))(humor)
    parameters = [each for each in inspect.signature(called).parameters.values() if each.name != "self"]
    found = [each.name if each.default is each.empty else f"{each.name}={each.default!r}" for each in parameters]
    assert f"({', '.join(found)})" == SIGNATURES[name]


def test_process_clip_takes_a_raw_clip_and_bodies_first():
    assert list(inspect.signature(humor.data.process_clip).parameters)[:2] == ["raw", "bodies"]


@pytest.mark.parametrize("name", FIELDS)
def test_fields_keep_their_names_and_order(name):
    assert [field.name for field in fields(attrgetter(name)(humor))] == FIELDS[name]


@pytest.mark.parametrize(("vertices", "count"), [("none", None), ("keypoints", 43), ("all", 6890), ([3, 5], 2)])
def test_a_body_returns_joints_and_the_vertices_that_were_asked_for(vertices, count):
    posed = humor.BodyModel.mannequin()(
        torch.eye(3).expand(2, 22, 3, 3), torch.zeros(2, 16), torch.zeros(2, 3), vertices=vertices
    )
    assert posed.joints.shape == (2, 22, 3)
    assert (posed.vertices is None) if count is None else posed.vertices.shape == (2, count, 3)


def test_a_model_is_run_rolled_out_and_compared():
    state, model = random_state((3,), dtype=torch.float32), humor.HumorModel(width=1)
    out = model(state, state, noise=None)
    assert out.state.to_vector("rotmat").shape == (3, 339)
    assert out.posterior.mean.shape == out.prior.var.shape == (3, 48)
    motion = model.rollout(state, 2, use_mean=True)
    assert motion.state.trans.shape == (3, 2, 3)
    loss = humor.HumorLoss(golden.bodies(), humor.LossWeights())
    genders = ["male", "female", "neutral"]
    total, terms = loss(out, state, torch.zeros(3, 9), torch.zeros(3, 16), gender=genders, epoch=0)
    assert total.isfinite()
    assert {"smpl_mesh_loss", "kl_loss"} < set(terms)


@pytest.mark.parametrize("network", [lambda: humor.lifting.PoseFormer(9), lambda: humor.lifting.PoseFormerV2(27, 3, 3)])
def test_a_lifting_network_takes_frames_of_points_and_returns_joints(network):
    model = network().eval()
    frames = 9 if isinstance(model, humor.lifting.PoseFormer) else 27
    with torch.no_grad():
        assert model(torch.zeros(2, frames, 17, 2)).shape == (2, 17, 3)
