"""Our numbers are those of the published implementation."""

import json

import numpy as np
import pytest
import torch

from humor import HumorLoss, HumorModel
from humor.data import evaluation_windows, process_clip
from humor.model import Gaussian, Transition
from humor.rotations import rotvec_to_rotmat
from humor.skeleton import CONTACT_JOINTS
from tests.support import golden_values as golden


@pytest.mark.parametrize("case", ["loss_male", "loss_mixed", "loss_late"])
def test_loss_terms_and_gradients_are_the_published_ones(case, device):
    values = golden.arrays(case)
    names = ("pred_contacts", "posterior_mean", "posterior_var", "prior_mean", "prior_var", "target_contacts", "betas")
    given = {name: torch.as_tensor(values[name], device=device) for name in names}
    predicted, target = golden.state(values, "pred_", device), golden.state(values, "target_", device)
    logits = given["pred_contacts"].requires_grad_()
    predicted = predicted.map(lambda x: x.requires_grad_())
    posterior, prior = (Gaussian(given[f"{q}_mean"], given[f"{q}_var"]) for q in ("posterior", "prior"))
    total, terms = HumorLoss(golden.bodies(device))(
        Transition(predicted, logits, posterior, prior),
        target,
        given["target_contacts"],
        given["betas"],
        values["gender"].tolist(),
        int(values["epoch"]),
    )
    expected = {name.removeprefix("term_"): float(value) for name, value in values.items() if name.startswith("term_")}
    assert set(terms) == set(expected)
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(expected, rel=1e-5)
    assert total.item() == pytest.approx(float(values["loss"]), rel=1e-5)

    total.backward()
    gradients = predicted.map(lambda x: x.grad)
    published = golden.state(values, "grad_", device)
    for name in ("trans", "trans_vel", "root_orient_vel", "joints", "joints_vel"):
        assert_close(getattr(gradients, name), getattr(published, name), 1e-4, name)
    assert_close(logits.grad, torch.as_tensor(values["grad_contacts"], device=device), 1e-4, "contacts")
    for name in ("root_orient", "pose_body"):
        rotmats = getattr(predicted, name).detach()
        ours, theirs = (tangent(rotmats, getattr(side, name)) for side in (gradients, published))
        assert_close(ours, theirs, 1e-4, name)


def tangent(rotmats, gradients):
    """The part of a matrix gradient along rotations."""
    turned = rotmats.mT @ gradients
    return turned - turned.mT


def assert_close(ours, theirs, tolerance, name):
    worst = (ours - theirs).abs().max() / theirs.abs().max()
    assert worst < tolerance, f"{name}: {worst:.1e}"


def test_network_forward_is_the_published_one(device):
    """In float64: with these weights float32 itself wanders by 1e-5 to 3e-5, by processor, on either side."""
    values = golden.arrays("model_forward")
    model = golden.filled_model(int(values["weights_seed"])).to(device, torch.float64)
    past, current = (golden.state(values, side, device).map(torch.Tensor.double) for side in ("past_", "current_"))
    with torch.no_grad():
        out = model(past, current, torch.as_tensor(values["eps"], device=device).double())
    np.testing.assert_allclose(out.state.to_vector().cpu(), state_vector(values, "out_"), atol=1e-5, rtol=0)
    np.testing.assert_allclose(out.contacts.cpu(), values["out_contacts"], atol=1e-5, rtol=0)
    for name in ("posterior", "prior"):  # up to 7 and 800 large: the stored float32 values are this far from exact
        ours = getattr(out, name)
        np.testing.assert_allclose(ours.mean.cpu(), values[f"{name}_distrib_mean"], atol=5e-5, rtol=0)
        np.testing.assert_allclose(ours.var.cpu(), values[f"{name}_distrib_var"], atol=0, rtol=1e-4)


def state_vector(values, prefix):
    return golden.state(values, prefix).to_vector().numpy()


def test_rollout_is_the_published_one(device):
    values = golden.arrays("rollout")
    model = golden.filled_model(int(values["weights_seed"]), float(values["decoder_output_scale"])).to(device)
    latents = torch.as_tensor(values["z"], device=device)
    with torch.no_grad():
        out = model.rollout(golden.state(values, "init_", device), latents.shape[1], latents)
    np.testing.assert_allclose(out.state.to_vector().cpu(), state_vector(values, "out_"), atol=1e-4, rtol=0)
    np.testing.assert_allclose(out.contacts.cpu(), values["out_contacts"], atol=1e-4, rtol=0)


def test_body_joints_and_vertices_are_the_published_ones(device):
    values = golden.arrays("smplh_male")
    pose, betas, trans = (
        torch.as_tensor(values[name], device=device) for name in ("pose_axis_angle", "betas", "trans")
    )
    vertices = values["vertex_index"].tolist()
    posed = golden.body("male", str(device))(rotvec_to_rotmat(pose), betas, trans, vertices=vertices)
    np.testing.assert_allclose(posed.joints.cpu(), values["joints"][:, :22], atol=1e-5, rtol=0)
    np.testing.assert_allclose(posed.vertices.cpu(), values["vertices"], atol=1e-5, rtol=0)


def test_parameters_have_the_released_names_and_shapes():
    released = json.loads((golden.FOLDER / "official_state_dict.json").read_text())
    ours = {name: list(value.shape) for name, value in HumorModel().state_dict().items()}
    assert list(ours.items()) == list(released.items())  # in their order, by which an optimizer's state goes


@pytest.mark.parametrize("name", ["a120", "b60", "nofloor", "short", "terrain"])
def test_processed_clip_is_the_published_one(name):
    values = golden.arrays(f"process_{name}")
    clip = process_clip(raw(values), golden.bodies())
    assert (clip is not None) == bool(values["kept"])
    if clip is None:
        return
    assert len(clip) == int(str(values["file_name"]).split("_")[-4])
    assert clip.fps == values["processed_fps"]
    assert clip.floor_height == pytest.approx(float(values["processed_floor_height"]), abs=1e-5)
    np.testing.assert_array_equal(clip.contacts, values["processed_contacts"][:, list(CONTACT_JOINTS)])
    positions = {"trans": clip.state.trans, "joints": clip.state.joints, "mojo_verts": clip.keypoints}
    for field, ours in positions.items():
        np.testing.assert_allclose(ours, values[f"processed_{field}"], atol=1e-5, rtol=0, err_msg=field)
    for field in ("trans_vel", "root_orient_vel", "joints_vel"):
        theirs = values[f"processed_{field}"]
        np.testing.assert_allclose(getattr(clip.state, field), theirs, atol=2e-4, rtol=0, err_msg=field)
    for field in ("root_orient", "pose_body"):
        theirs = rotvec_to_rotmat(torch.as_tensor(values[f"processed_{field}"]).unflatten(-1, (-1, 3))).squeeze(1)
        torch.testing.assert_close(getattr(clip.state, field), theirs, atol=1e-6, rtol=0)


def raw(values):
    return {name.removeprefix("raw_"): value for name, value in values.items() if name.startswith("raw_")}


def test_windows_are_the_published_ones():
    values = golden.arrays("windows")
    clips = [process_clip(raw(golden.arrays(f"process_{name}")), golden.bodies()) for name in ("a120", "b60")]
    windows = evaluation_windows(clips)
    assert len(windows) == int(values["length"])
    starts = [(number, w.start) for number, clip in enumerate(clips) for w in evaluation_windows([clip])]
    assert starts == [tuple(row) for row in values["subsequences"][:, :2].tolist()]
    for q, index in enumerate(values["index"].tolist()):
        window = windows[index]
        assert window.gender == values[f"{q}_gender"]
        np.testing.assert_allclose(window.betas, values[f"{q}_betas"][0], atol=1e-6)
        np.testing.assert_array_equal(window.contacts, values[f"{q}_out_contacts"][:, 0])
        sides = {"in_": window.past, "out_": window.current, "out_global_": window.world}
        for prefix, ours in sides.items():
            for name in ours.__dataclass_fields__:
                theirs = values[f"{q}_{prefix}{name}"].reshape(getattr(ours, name).shape)
                tolerance = 1e-3 if name.endswith("vel") else 1e-4
                np.testing.assert_allclose(getattr(ours, name), theirs, atol=tolerance, rtol=0, err_msg=prefix + name)
