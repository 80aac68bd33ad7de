"""A body poses as smplx poses it, in any batch shape, and takes only what is a body."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bench.published_loss import smplx_body
from humor import BodyModel
from humor.kinematics import forward_kinematics
from humor.mannequin import mannequin_arrays
from humor.rotations import rotmat_to_rotvec, rotvec_to_rotmat
from humor.skeleton import BODY, KEYPOINT_VERTICES, SMPLH
from tests.support import golden_values as golden


def random_pose(batch, joints=22, seed=0):
    random = torch.Generator().manual_seed(seed)
    rotmats = rotvec_to_rotmat(torch.randn(*batch, joints, 3, generator=random))
    return rotmats, torch.randn(*batch, 16, generator=random), torch.randn(*batch, 3, generator=random)


def bodies_under_test():
    return {
        "golden": lambda: golden.body_arrays("female"),
        **{gender: lambda g=gender: mannequin_arrays(g) for gender in ("male", "female", "neutral")},
    }


@pytest.mark.parametrize("joints", [22, 52])
@pytest.mark.parametrize("name", bodies_under_test())
def test_joints_and_vertices_are_those_of_smplx(name, joints):
    arrays = bodies_under_test()[name]()
    rotmats, betas, trans = random_pose((4,), joints)
    posed = BodyModel(arrays)(rotmats, betas, trans, vertices="all")
    full = torch.cat([rotmats, torch.eye(3).expand(4, 52 - joints, 3, 3)], 1)
    rotvecs = rotmat_to_rotvec(full).flatten(1)
    expected = smplx_body(arrays)(
        betas=betas,
        global_orient=rotvecs[:, :3],
        body_pose=rotvecs[:, 3:66],
        left_hand_pose=rotvecs[:, 66:111],
        right_hand_pose=rotvecs[:, 111:],
        transl=trans,
    )
    torch.testing.assert_close(posed.joints, expected.joints[:, :22], atol=1e-5, rtol=0)
    torch.testing.assert_close(posed.vertices, expected.vertices, atol=1e-5, rtol=0)


def test_kinematics_by_group_is_kinematics_by_joint():
    rotmats, rest = random_pose((3,), 52)[0], torch.randn(3, 52, 3)
    placed = [(rotmats[:, 0], rest[:, 0])]
    for joint, parent in enumerate(SMPLH.parents[1:], 1):
        turn, origin = placed[parent]
        offset = rest[:, joint] - rest[:, parent]
        placed.append((turn @ rotmats[:, joint], origin + (turn @ offset[:, :, None])[:, :, 0]))
    world = forward_kinematics(rotmats, rest, SMPLH)
    torch.testing.assert_close(world.rotmats, torch.stack([turn for turn, _ in placed], 1), atol=2e-6, rtol=0)
    torch.testing.assert_close(world.translations, torch.stack([at for _, at in placed], 1), atol=2e-5, rtol=0)


@pytest.mark.parametrize("batch", [(), (0,), (1,), (3,), (2, 5), (2, 0, 3)])
def test_any_leading_shape_is_posed(batch):
    body = BodyModel.mannequin()
    for joints in (22, 52):
        posed = body(*random_pose(batch, joints), vertices="keypoints")
        assert posed.joints.shape == (*batch, 22, 3)
        assert posed.vertices.shape == (*batch, 43, 3)


def test_batch_entries_do_not_affect_each_other():
    body = BodyModel.mannequin()
    pose = random_pose((5,))
    together = body(*pose, vertices="all").vertices
    alone = torch.stack([body(*(x[i] for x in pose), vertices="all").vertices for i in range(5)])
    torch.testing.assert_close(together, alone, atol=1e-6, rtol=0)


def test_chosen_vertices_are_the_meshs():
    body = BodyModel.mannequin("female")
    pose = random_pose((2,))
    mesh = body(*pose, vertices="all").vertices
    torch.testing.assert_close(body(*pose, vertices="keypoints").vertices, mesh[:, list(KEYPOINT_VERTICES)])
    torch.testing.assert_close(body(*pose, vertices=[5, 6000, 5]).vertices, mesh[:, [5, 6000, 5]])
    assert body(*pose).vertices is None


def test_resting_hands_may_be_left_out():
    body = BodyModel.mannequin("male")
    rotmats, betas, trans = random_pose((2,))
    spelled = torch.cat([rotmats, torch.eye(3).expand(2, 30, 3, 3)], 1)
    short, long = (body(x, betas, trans, vertices="all") for x in (rotmats, spelled))
    torch.testing.assert_close(short.joints, long.joints, atol=1e-6, rtol=0)
    torch.testing.assert_close(short.vertices, long.vertices, atol=2e-6, rtol=0)


def one_handed():
    """A mannequin whose right fingers move nothing."""
    arrays = dict(mannequin_arrays("neutral"))
    weights, posedirs = arrays["weights"].copy(), arrays["posedirs"].copy()
    weights[:, 21] += weights[:, 37:].sum(1)
    weights[:, 37:], posedirs[:, :, 9 * 36 :] = 0, 0
    return arrays | {"weights": weights, "posedirs": posedirs}


@pytest.mark.parametrize(
    "arrays", [*bodies_under_test().values(), one_handed], ids=[*bodies_under_test(), "one-handed"]
)
def test_fingers_posed_where_they_reach_are_posed_as_everywhere(arrays):
    """The slow twin takes all vertices by index, each with every joint and blend shape."""
    body = BodyModel(arrays()).double()
    rotmats, betas, trans = (x.double() for x in random_pose((3,), 52))
    towards, found = torch.randn(3, 6890, 3, dtype=torch.float64), []
    for vertices in ("all", range(6890)):
        leaf = rotmats.clone().requires_grad_()
        posed = body(leaf, betas, trans, vertices=vertices).vertices
        found.append((posed, torch.autograd.grad((posed * towards).sum(), leaf)[0]))
    (ours, our_gradient), (theirs, their_gradient) = found
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)  # the weights themselves are rounded to float32
    torch.testing.assert_close(our_gradient, their_gradient, atol=1e-4, rtol=1e-6)


def test_rest_joints_are_the_regressed_ones():
    arrays = mannequin_arrays("female")
    betas = torch.randn(3, 16)
    shaped = arrays["v_template"] + np.einsum("vcs,bs->bvc", arrays["shapedirs"], betas)
    expected = np.einsum("jv,bvc->bjc", arrays["J_regressor"], shaped)[:, :22]
    np.testing.assert_allclose(BodyModel(arrays).rest_joints(betas), expected, atol=2e-6)


@given(st.integers(0, 1000), st.floats(-3, 3), st.tuples(*[st.floats(-100, 100)] * 3))
def test_turning_and_moving_the_root_turns_and_moves_the_body(seed, angle, shift):
    body = golden.body("male")
    rotmats, betas, _ = random_pose((1,), seed=seed)
    turn = rotvec_to_rotmat(torch.tensor([0.2, angle, -0.4]))
    turned = rotmats.clone()
    turned[:, 0] = turn @ rotmats[:, 0]
    pivot = body.rest_joints(betas)[:, :1]
    still = body(rotmats, betas, torch.zeros(1, 3)).joints
    moved = body(turned, betas, torch.tensor([shift])).joints
    torch.testing.assert_close(moved, (still - pivot) @ turn.T + pivot + torch.tensor(shift), atol=1e-4, rtol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_does_not_reach_the_body(dtype):
    body, pose = BodyModel.mannequin(), random_pose((3,))
    expected = body(*pose, vertices="all")
    with torch.autocast("cpu", dtype):
        posed = body(*pose, vertices="all")
    assert posed.vertices.dtype == torch.float32
    assert torch.equal(posed.vertices, expected.vertices)
    assert torch.equal(posed.joints, expected.joints)


@pytest.mark.parametrize("count", [10, 16, 300])
def test_bodies_of_any_number_of_shape_blend_shapes_have_16(count):
    arrays = dict(golden.body_arrays("male"))
    stored = arrays["shapedirs"]
    arrays["shapedirs"] = np.concatenate([stored, np.ones((6890, 3, 284))], -1)[..., :count]
    body = BodyModel(arrays)
    padded = np.pad(stored[..., :count], ((0, 0), (0, 0), (0, 16 - min(count, 16))))
    np.testing.assert_allclose(body.blend_shapes[..., 1:17].transpose(0, 1), padded, atol=1e-6)


def test_gradients_are_finite_in_the_rest_pose():
    body = BodyModel.mannequin()
    rotvecs = torch.zeros(2, 22, 3, requires_grad=True)
    posed = body(rotvec_to_rotmat(rotvecs), torch.zeros(2, 16), torch.zeros(2, 3), vertices="all")
    posed.vertices.square().sum().backward()
    assert rotvecs.grad.isfinite().all()
    assert rotvecs.grad.abs().sum() > 0


def test_body_skeleton_is_the_start_of_the_whole_one():
    assert SMPLH.parents[:22] == BODY.parents
    assert SMPLH.names[:22] == BODY.names
