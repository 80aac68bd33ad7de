"""A state survives its vector forms, and canonical frames do what they say."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from humor import MotionState
from humor.errors import SettingError
from humor.rotations import rotvec_to_rotmat
from humor.state import CanonicalFrame, heading_rotmat
from tests.support.random_states import random_state


def assert_same(one, other, tolerance):
    torch.testing.assert_close(one.to_vector(), other.to_vector(), atol=tolerance, rtol=0)


@pytest.mark.parametrize(("rotations", "size"), [("rotmat", 339), ("rotvec", 207)])
@pytest.mark.parametrize("batch", [(), (0,), (1,), (2, 3)])
def test_a_vector_gives_its_state_again(rotations, size, batch):
    state = random_state(batch)
    vector = state.to_vector(rotations)
    assert vector.shape == (*batch, size)
    assert_same(MotionState.from_vector(vector, rotations), state, 1e-13)


def test_a_vector_of_another_size_is_refused():
    with pytest.raises(SettingError, match=r'^a "rotmat" state has 339 numbers; got 207\.$'):
        MotionState.from_vector(torch.zeros(2, 207), "rotmat")
    with pytest.raises(SettingError, match=r'^rotations: "euler" is neither "rotmat" nor "rotvec"\.$'):
        random_state().to_vector("euler")


@given(st.integers(0, 10_000))
def test_canonical_to_world_is_the_inverse_of_world_to_canonical(seed):
    state, other = random_state(seed=seed), random_state(seed=seed + 1)
    frame = CanonicalFrame.of(other)
    assert_same(frame.canonical_to_world(frame.world_to_canonical(state)), state, 1e-12)


@given(st.integers(0, 10_000))
def test_a_state_in_its_own_frame_stands_at_the_origin_with_its_right_along_x(seed):
    state = random_state(seed=seed)
    local = CanonicalFrame.of(state).world_to_canonical(state)
    right = -local.root_orient[..., 0]
    torch.testing.assert_close(local.trans[:, :2], torch.zeros(3, 2).double(), atol=1e-12, rtol=0)
    torch.testing.assert_close(local.trans[:, 2], state.trans[:, 2])
    torch.testing.assert_close(right[:, 1], torch.zeros(3).double(), atol=1e-12, rtol=0)
    assert (right[:, 0] > 0).all()
    offset = (state.joints[:, 0] - state.trans)[:, :2]
    torch.testing.assert_close(local.joints[:, 0, :2], offset, atol=1e-12, rtol=0)


@given(st.integers(0, 10_000), st.floats(-3, 3), st.floats(-50, 50))
def test_position_and_heading_do_not_change_a_state_in_its_own_frame(seed, angle, shift):
    """Joints keep their pivot's offset, so they are compared about it."""
    state = random_state(seed=seed)
    turn = rotvec_to_rotmat(torch.tensor([0.0, 0.0, angle], dtype=torch.float64)).expand(3, 3, 3)
    move = torch.tensor([shift, -0.5 * shift, 0.0], dtype=torch.float64)
    moved = MotionState(
        (turn @ state.trans[..., None])[..., 0] + move,
        (turn @ state.trans_vel[..., None])[..., 0],
        turn @ state.root_orient,
        (turn @ state.root_orient_vel[..., None])[..., 0],
        state.pose_body,
        state.joints @ turn.mT + move,
        state.joints_vel @ turn.mT,
    )
    one, other = (CanonicalFrame.of(s).world_to_canonical(s) for s in (state, moved))
    for name in ("trans", "trans_vel", "root_orient", "root_orient_vel", "pose_body", "joints_vel"):
        torch.testing.assert_close(getattr(one, name), getattr(other, name), atol=1e-10, rtol=0)
    about_root = [s.joints - s.joints[:, :1] for s in (one, other)]
    torch.testing.assert_close(*about_root, atol=1e-10, rtol=0)


@pytest.mark.parametrize("angle", [0.0, 1e-12, -1e-8, 1e-4, torch.pi / 2, torch.pi, -3.0])
def test_heading_is_exact_and_smooth_at_every_angle(angle):
    about_z = torch.tensor([0.0, 0.0, angle + torch.pi], dtype=torch.float64, requires_grad=True)
    turn = heading_rotmat(rotvec_to_rotmat(about_z))
    expected = rotvec_to_rotmat(torch.tensor([0.0, 0.0, -angle], dtype=torch.float64))
    torch.testing.assert_close(turn, expected, atol=1e-14, rtol=0)
    turn.sum().backward()
    assert about_z.grad.isfinite().all()


def test_a_body_whose_right_points_up_keeps_the_worlds_heading():
    upright = torch.tensor([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]]).requires_grad_()
    turn = heading_rotmat(upright)
    assert torch.equal(turn, torch.eye(3))
    turn.sum().backward()
    assert upright.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_frames_are_exact_under_autocast(dtype):
    state = random_state(dtype=torch.float32)
    frame = CanonicalFrame.of(random_state(seed=1, dtype=torch.float32))
    with torch.autocast("cpu", dtype):
        local = frame.world_to_canonical(state)
        again = frame.canonical_to_world(local)
    assert_same(local, frame.world_to_canonical(state), 0)
    assert_same(again, state, 1e-5)
