"""Rotations are what scipy says they are, and their gradients are finite everywhere."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from humor import rotations

NASTY_ANGLES = [0.0, 1e-12, -1e-8, 1e-4, 0.031, 0.032, 1.0, np.pi / 2, np.pi - 1e-4, np.pi - 1e-8, np.pi]
AXES = [(1.0, 0, 0), (0, 1.0, 0), (0, 0, -1.0), (0.6, -0.48, 0.64), (1 / np.sqrt(3),) * 3]
rotvecs = st.tuples(*[st.floats(-1.8, 1.8)] * 3).map(lambda v: torch.tensor([v], dtype=torch.float64))


def nasty_rotvecs(dtype=torch.float64):
    return torch.tensor([[angle * x for x in axis] for angle in NASTY_ANGLES for axis in AXES], dtype=dtype)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 5e-7), (torch.float64, 1e-15)])
def test_matrices_of_nasty_angles_are_scipys(dtype, tolerance):
    rotvec = nasty_rotvecs(dtype)
    expected = Rotation.from_rotvec(rotvec.double().numpy()).as_matrix()
    np.testing.assert_allclose(rotations.rotvec_to_rotmat(rotvec), expected, atol=tolerance, rtol=0)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 2e-15)])
def test_rotvecs_of_nasty_matrices_give_the_matrix_again(dtype, tolerance):
    rotmat = rotations.rotvec_to_rotmat(nasty_rotvecs(dtype))
    again = rotations.rotvec_to_rotmat(rotations.rotmat_to_rotvec(rotmat))
    torch.testing.assert_close(again, rotmat, atol=tolerance, rtol=0)
    assert (torch.linalg.vector_norm(rotations.rotmat_to_rotvec(rotmat), dim=-1) <= torch.pi + 1e-6).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_small_rotvecs_keep_every_digit(dtype):
    rotvec = torch.tensor([[1e-12, -3e-10, 2e-9], [0.0, 0.0, 0.0], [1e-5, 2e-5, -3e-5]], dtype=dtype)
    torch.testing.assert_close(
        rotations.rotmat_to_rotvec(rotations.rotvec_to_rotmat(rotvec)), rotvec, rtol=1e-6, atol=0
    )


@given(rotvecs)
def test_every_form_turns_into_every_other_and_back(rotvec):
    rotmat = rotations.rotvec_to_rotmat(rotvec)
    np.testing.assert_allclose(rotmat, Rotation.from_rotvec(rotvec.numpy()).as_matrix(), atol=1e-14)
    quat = rotations.rotmat_to_quat(rotmat)
    assert quat[0, 0] >= 0
    for again in (
        rotations.quat_to_rotmat(quat),
        rotations.rotvec_to_rotmat(rotations.quat_to_rotvec(quat)),
        rotations.rot6d_to_rotmat(rotations.rotmat_to_rot6d(rotmat)),
        rotations.quat_to_rotmat(rotations.rotvec_to_quat(rotvec)),
    ):
        torch.testing.assert_close(again, rotmat, atol=1e-13, rtol=0)


@given(rotvecs)
def test_matrices_are_orthonormal(rotvec):
    rotmat = rotations.rotvec_to_rotmat(rotvec)
    torch.testing.assert_close(rotmat @ rotmat.mT, torch.eye(3).double().expand(1, 3, 3), atol=1e-14, rtol=0)
    torch.testing.assert_close(torch.linalg.det(rotmat), torch.ones(1).double(), atol=1e-14, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "chain",
    [
        rotations.rotvec_to_rotmat,
        lambda v: rotations.rotmat_to_rotvec(rotations.rotvec_to_rotmat(v)),
        lambda v: rotations.rotmat_to_quat(rotations.rotvec_to_rotmat(v)),
        lambda v: rotations.rot6d_to_rotmat(rotations.rotmat_to_rot6d(rotations.rotvec_to_rotmat(v))),
    ],
    ids=["rotmat", "rotvec", "quat", "rot6d"],
)
def test_gradients_are_finite_at_zero_and_pi(chain, dtype):
    rotvec = nasty_rotvecs(dtype).requires_grad_()
    chain(rotvec).sin().sum().backward()
    assert rotvec.grad.isfinite().all()
    assert rotvec.grad.abs().max() < 1e3


def test_gradients_are_those_of_finite_differences():
    rotvec = torch.cat([nasty_rotvecs()[:25], torch.tensor([[0.3, -2.0, 1.0]]).double()]).requires_grad_()
    assert torch.autograd.gradcheck(rotations.rotvec_to_rotmat, rotvec)
    round_trip = rotvec.detach()[10:].requires_grad_()
    assert torch.autograd.gradcheck(lambda v: rotations.rotmat_to_rotvec(rotations.rotvec_to_rotmat(v)), round_trip)


@pytest.mark.parametrize("shape", [(0,), (1,), (2, 0, 3), (2, 3)])
def test_any_leading_shape_is_taken(shape):
    rotmat = rotations.rotvec_to_rotmat(torch.ones(*shape, 3))
    assert rotmat.shape == (*shape, 3, 3)
    assert rotations.rotmat_to_rotvec(rotmat).shape == (*shape, 3)
