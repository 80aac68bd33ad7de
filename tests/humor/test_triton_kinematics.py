"""Kinematics as Triton kernels are those by operators, run by Triton's interpreter and compiled for a GPU."""

import sys

import pytest
import torch

from humor import HumorLoss
from humor.errors import SettingError
from humor.kinematics import joint_placer, place_joints
from humor.skeleton import BODY, SMPLH, Skeleton
from tests.support import golden_values as golden
from tests.support import triton_kernels
from tests.support.random_states import random_state

NAME = "humor.triton_kinematics"
ROOT_ALONE = Skeleton(("root",), (-1,))
TREE = Skeleton(tuple("abcdef"), (-1, 0, 0, 1, 1, 2))


@pytest.fixture
def kernels():
    return triton_kernels.interpreted(NAME)


def random_joints(rows, skeleton, dtype=torch.float32):
    """Matrices that are no rotations, offsets, and a gradient of what these place."""
    random = torch.Generator().manual_seed(0)
    shapes = (rows, len(skeleton), 3, 3), (3, len(skeleton), rows), (3, 4, len(skeleton), rows)
    return [torch.randn(shape, generator=random).mul(0.6).to(dtype) for shape in shapes]


def placed_and_gradients(place, rotmats, offsets, towards, skeleton):
    leaves = rotmats.clone().requires_grad_(), offsets.clone().requires_grad_()
    world = place(*leaves, skeleton)
    return world, *torch.autograd.grad(world, leaves, towards)


@pytest.mark.parametrize(
    ("rows", "skeleton"), [(0, TREE), (1, ROOT_ALONE), (1, SMPLH), (5, BODY), (32, TREE), (33, TREE), (97, ROOT_ALONE)]
)
def test_joints_and_gradients_are_those_by_operators(rows, skeleton, kernels):
    found = placed_and_gradients(kernels.place_joints, *random_joints(rows, skeleton), skeleton)
    twins = placed_and_gradients(place_joints, *random_joints(rows, skeleton), skeleton)
    exact = placed_and_gradients(place_joints, *random_joints(rows, skeleton, torch.float64), skeleton)
    for ours, twin, expected in zip(found, twins, exact, strict=True):
        assert (ours.dtype, ours.shape) == (torch.float32, expected.shape)
        assert (ours - expected).norm() <= 1e-6 * expected.norm()
        assert (ours - twin).norm() <= 1e-6 * twin.norm()


def test_inputs_and_gradients_may_be_laid_out_in_any_way(kernels):
    rotmats, offsets, towards = random_joints(5, TREE)
    expected = placed_and_gradients(kernels.place_joints, rotmats, offsets, towards, TREE)
    reordered = rotmats.permute(2, 3, 1, 0).contiguous().permute(3, 2, 0, 1)
    doubled = offsets.repeat_interleave(2, 2)[..., ::2]
    turned = towards.permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0)
    world = kernels._forward(reordered, doubled, list(TREE.parents))
    found = world, *kernels._backward(turned, world, reordered, doubled, list(TREE.parents))
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    leaf = rotmats.clone().requires_grad_()
    kernels.place_joints(leaf, offsets, TREE).sum().backward()  # whose gradient is one number in memory
    again = placed_and_gradients(place_joints, rotmats, offsets, torch.ones_like(towards), TREE)[1]
    assert (leaf.grad - again).norm() <= 1e-6 * again.norm()


def test_the_operators_pass_pytorchs_checks(kernels):
    rotmats, offsets, towards = random_joints(3, TREE)
    parents, checks = list(TREE.parents), ("test_schema", "test_faketensor")
    torch.library.opcheck(kernels.place_joints_operator, (rotmats, offsets, parents), test_utils=checks)
    inputs = (towards, towards, rotmats, offsets, parents)
    torch.library.opcheck(kernels.place_joints_backward_operator, inputs, test_utils=checks)


@pytest.mark.usefixtures("kernels")
def test_a_loss_places_joints_by_the_kernels():
    def posed(kinematics):
        loss = HumorLoss(golden.bodies(), kinematics=kinematics)
        ours, theirs = (random_state((3,), seed, dtype=torch.float32) for seed in (0, 1))
        ours = ours.map(lambda x: x.requires_grad_())
        batch = loss.pose(ours, theirs, torch.ones(3, 16), ["male", "male", "female"])
        (batch.mesh_loss + batch.predicted.square().sum()).backward()
        return batch.predicted, batch.target, batch.mesh_loss, ours.trans.grad, ours.pose_body.grad

    torch.testing.assert_close(posed("triton"), posed("operators"), rtol=1e-5, atol=1e-3)


def test_what_they_cannot_take_is_refused(kernels, monkeypatch):
    rotmats, offsets, _ = random_joints(3, TREE)

    def refusal(place, *given):
        with pytest.raises(SettingError) as error:
            place(*given, list(TREE.parents))
        return str(error.value)

    start = 'kinematics "triton": '
    assert refusal(kernels._forward, rotmats.double(), offsets) == (
        start + 'needs float32, not float64; give "operators".'
    )
    assert refusal(kernels._forward, rotmats, offsets[:, :5]) == (
        start + "got a tensor (3, 5, 3) where the others need (3, 6, 3); correct it."
    )
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(kernels, "_place_joints", sys.modules["triton"].jit(kernels._place_joints.fn))
    assert refusal(kernels._forward, rotmats, offsets) == (
        start + 'needs a GPU, or TRITON_INTERPRET=1 before Python starts; give "operators".'
    )


def test_another_choice_and_one_without_triton_are_refused(monkeypatch):
    with pytest.raises(SettingError, match=r'^kinematics "quick" is not one of operators, triton\.$'):
        joint_placer("quick")
    monkeypatch.delitem(sys.modules, NAME, raising=False)
    monkeypatch.setitem(sys.modules, "triton", None)
    with pytest.raises(SettingError) as error:
        HumorLoss({}, kinematics="triton")
    assert str(error.value) == (
        'kinematics "triton": triton is not installed; install it (a PyTorch for CUDA brings it), or give "operators".'
    )


@pytest.mark.slow
def test_the_kernels_compile_for_a_gpu(tmp_path):
    triton_kernels.compile_for_a_gpu("kinematics", tmp_path)


IN_A_GRAPH = """
import torch
from tests.humor.test_triton_kinematics import TREE, placed_and_gradients, random_joints
from humor.kinematics import joint_placer, place_joints
place = torch.compile(joint_placer("triton"), fullgraph=True, backend="aot_eager")
for rows in (3, 5, 7):
    found = placed_and_gradients(place, *random_joints(rows, TREE), TREE)
    torch.testing.assert_close(found, placed_and_gradients(place_joints, *random_joints(rows, TREE), TREE))
"""


@pytest.mark.slow
def test_they_compile_as_a_part_of_one_graph():
    triton_kernels.run("-c", IN_A_GRAPH, TRITON_INTERPRET="1")


ON_A_GPU = """
import torch
from tests.humor.test_triton_kinematics import BODY, SMPLH, placed_and_gradients, random_joints
from humor.kinematics import joint_placer, place_joints
for skeleton in (BODY, SMPLH):
    for rows in (0, 1, 33, 2000):
        given = [x.cuda() for x in random_joints(rows, skeleton)]
        found, again = (placed_and_gradients(joint_placer("triton"), *given, skeleton) for _ in range(2))
        for ours, same, twin in zip(found, again, placed_and_gradients(place_joints, *given, skeleton)):
            assert torch.equal(ours, same)
            assert (ours - twin).norm() <= 1e-5 * twin.norm()
"""


@pytest.mark.cuda
def test_the_kernels_on_a_gpu_are_the_kinematics_by_operators():
    triton_kernels.run("-c", ON_A_GPU)
