"""The mesh loss in blocks is the plain formula, in value and gradient, and saves nothing of a mesh's size."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bench.harness.counters.operators import count_work
from humor import HumorLoss, skinning
from humor.errors import SettingError
from humor.mesh_loss import MESH_LOSSES, block_loss, block_loss_in_place, mesh_loss_and_gradients, mesh_loss_operator
from humor.skinning import BlockSize, Patch, Pose, Surface, skin, use_block_size
from tests.support import golden_values as golden
from tests.support.peak_bytes import PeakBytes
from tests.support.random_states import random_state
from tests.support.random_surfaces import plain_loss, plain_vertices, random_pose, random_surface, value_and_gradients


def patched_surface():
    """A surface that further features and joints move in two runs that overlap, and the same without patches."""
    dense = random_surface()
    blend_shapes, weights = dense.blend_shapes, dense.weights
    extra = []
    for first, stop, features, joints in ((3, 20, slice(5, 8), slice(2, 3)), (17, 36, slice(8, 11), slice(3, 4))):
        parts = blend_shapes[:, first:stop, features].clone(), weights[first:stop, joints].clone()
        extra.append(Patch(first, features.start, joints.start, *parts))
        for constants in (blend_shapes[..., features].transpose(0, 1), weights[:, joints]):
            constants[:first], constants[stop:] = 0, 0
    return Surface(blend_shapes[..., :5].contiguous(), weights[:, :2].contiguous(), tuple(extra)), dense


@pytest.fixture
def small_blocks():
    """Blocks of 2 bodies and 16 vertices, so that a small case has several of both and ragged ends."""
    with use_block_size(BlockSize(2, 32)):
        yield


@pytest.mark.parametrize("mesh", ["plain", "fused"])
@pytest.mark.parametrize("rows", [0, 1, 2, 5])
def test_loss_and_gradients_are_those_of_the_slow_twin(mesh, rows, small_blocks):
    surface, predicted, target = random_surface(), random_pose(rows, 0), random_pose(rows, 1)
    ours = value_and_gradients(MESH_LOSSES[mesh], surface, predicted, target)
    torch.testing.assert_close(ours, value_and_gradients(plain_loss, surface, predicted, target))


def test_gradients_are_those_of_finite_differences(small_blocks):
    surface, predicted, target = random_surface(20, 2, 5), random_pose(3, 0, 2, 5), random_pose(3, 1, 2, 5)
    leaves = (predicted.features.requires_grad_(), predicted.transforms.requires_grad_())
    assert torch.autograd.gradcheck(lambda f, t: MESH_LOSSES["fused"](surface, Pose(f, t), target), leaves)
    assert torch.autograd.gradcheck(lambda f, t: skin(surface, Pose(f, t)), leaves)


@pytest.mark.parametrize("rows", [0, 1, 5])
@pytest.mark.parametrize("surfaces", [lambda: (random_surface(),) * 2, patched_surface], ids=["whole", "patches"])
def test_skinned_vertices_and_gradients_are_those_of_the_slow_twin(surfaces, rows, small_blocks):
    (surface, dense), pose = surfaces(), random_pose(rows, 0)
    towards = torch.randn(rows, 37, 3, dtype=torch.float64)
    torch.testing.assert_close(skin(surface, pose), plain_vertices(dense, pose))

    def along(vertices_of, surface):
        return value_and_gradients(lambda *of: (vertices_of(*of[:2]) * towards).sum(), surface, pose, None)

    torch.testing.assert_close(along(skin, surface), along(plain_vertices, dense))


@given(st.integers(0, 1000))
def test_the_compiled_block_loss_is_the_one_in_place(seed):
    random = torch.Generator().manual_seed(seed)
    v_posed, skin_transforms = (torch.randn(*shape, 2, 5, generator=random) for shape in ((3, 2), (2, 3, 4)))
    for gradient in (True, False):
        ours = block_loss(v_posed.clone(), skin_transforms.clone(), gradient)
        theirs = block_loss_in_place(v_posed.clone(), skin_transforms.clone(), gradient)
        torch.testing.assert_close(ours[: 3 if gradient else 1], theirs[: 3 if gradient else 1])


def test_the_operators_pass_pytorchs_checks():
    surface, pose, target = random_surface(), random_pose(2, 0), random_pose(2, 1)
    inputs = (surface.blend_shapes, surface.weights, pose.features, pose.transforms)
    checks = ("test_schema", "test_faketensor")  # their gradients belong to the functions around them
    torch.library.opcheck(
        mesh_loss_operator, (*inputs, target.features, target.transforms, True, "operators"), test_utils=checks
    )
    inputs, gradient = (
        (*vars(pose).values(), *patched_surface()[0].to_operator_inputs()),
        torch.ones(2, 37, 3, dtype=torch.float64),
    )
    torch.library.opcheck(skinning.skin_operator, inputs, test_utils=checks)
    torch.library.opcheck(skinning.skin_backward_operator, (gradient, *inputs), test_utils=checks)


def test_the_fused_loss_has_the_flops_of_the_plain_one():
    """Counters see inside the operator: the fused loss multiplies what the plain one and its backward pass do."""
    surface, target = random_surface(), random_pose(3, 1)

    def count(mesh):
        return count_work(lambda: value_and_gradients(MESH_LOSSES[mesh], surface, random_pose(3, 0), target))

    assert count("fused").flops == count("plain").flops
    assert count("fused").bytes > 0


def test_an_unknown_mesh_term_is_refused():
    with pytest.raises(SettingError, match=r'^mesh "quick" is not one of plain, fused, compiled, triton\.$'):
        HumorLoss({}, mesh="quick")


def peak_bytes(rows):
    surface = random_surface(6890, 22, 206, torch.float32)
    poses = [random_pose(rows, seed, 22, 206, torch.float32) for seed in (0, 1)]
    with PeakBytes() as counted:
        mesh_loss_and_gradients(
            surface.blend_shapes, surface.weights, *vars(poses[0]).values(), *vars(poses[1]).values(), True, "operators"
        )
    return counted.peak


def test_memory_grows_by_less_than_a_mesh_for_each_body():
    one_mesh = 6890 * 3 * 4
    small, large = peak_bytes(100), peak_bytes(400)
    assert small < 8e7
    assert (large - small) / 300 < one_mesh / 5


@pytest.mark.parametrize("windows", [1, 3])
def test_the_loss_saves_little_for_the_backward_pass(windows):
    loss, state = HumorLoss(golden.bodies()), random_state((windows, 10), dtype=torch.float32)
    leaves = state.map(lambda x: x.requires_grad_())
    saved = []

    def pack(tensor):
        saved.append(tensor.untyped_storage().nbytes())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss.pose(leaves, leaves, torch.zeros(windows, 10, 16), ["male"] * windows)
    assert sum(saved) < windows * 10 * 200_000


def test_betas_get_no_gradient_and_a_batch_may_be_empty():
    loss, state = HumorLoss(golden.bodies()), random_state((2, 0), dtype=torch.float32)
    betas = torch.zeros(2, 0, 16, requires_grad=True)
    posed = loss.pose(state, state, betas, ["male", "female"])
    assert posed.mesh_loss == 0
    assert posed.predicted.shape == (0, 22, 3)
    state = random_state((1,), dtype=torch.float32).map(lambda x: x.requires_grad_())
    betas = torch.zeros(1, 16, requires_grad=True)
    posed = loss.pose(state, state.map(torch.zeros_like), betas, ["male"])
    (posed.mesh_loss + posed.predicted.sum()).backward()
    assert betas.grad is None
    assert state.pose_body.grad.abs().sum() > 0
