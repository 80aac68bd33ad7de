"""The mesh loss as a Triton kernel is the one by operators, run by Triton's interpreter and compiled for a GPU."""

import sys
from importlib import import_module

import pytest
import torch

from humor.errors import SettingError
from humor.mesh_loss import MESH_LOSSES, mesh_loss_operator
from humor.skinning import Pose, Surface
from tests.support import triton_kernels
from tests.support.peak_bytes import PeakBytes
from tests.support.random_surfaces import plain_loss, random_pose, random_surface, value_and_gradients

LOSS, NAME = MESH_LOSSES["triton"], "humor.triton_mesh_loss"


@pytest.fixture
def kernel():
    return triton_kernels.interpreted(NAME)


def random_case(rows, vertices, joints, features, dtype=torch.float32):
    """A surface, the predicted pose and the target, the same numbers in each precision."""
    surface = random_surface(vertices, joints, features, torch.float32)
    poses = (random_pose(rows, seed, joints, features, torch.float32) for seed in (0, 1))
    cast = Surface(surface.blend_shapes.to(dtype), surface.weights.to(dtype))
    return cast, *(Pose(pose.features.to(dtype), pose.transforms.to(dtype)) for pose in poses)


@pytest.mark.parametrize("programs", [1, 2, 512])
@pytest.mark.parametrize(
    ("rows", "vertices", "joints", "features"),
    [(0, 37, 4, 11), (5, 0, 4, 11), (1, 1, 1, 1), (1, 37, 4, 11), (33, 31, 17, 16), (2, 97, 22, 40)],
)
def test_loss_and_gradients_are_those_of_the_slow_twin(rows, vertices, joints, features, programs, kernel, monkeypatch):
    """Of bodies and vertices that do not fill a block or a program's run, of none and of one."""
    monkeypatch.setattr(kernel, "PROGRAMS", programs)
    found = value_and_gradients(LOSS, *random_case(rows, vertices, joints, features))
    exact = value_and_gradients(plain_loss, *random_case(rows, vertices, joints, features, torch.float64))
    fused = value_and_gradients(MESH_LOSSES["fused"], *random_case(rows, vertices, joints, features))
    for ours, twin, expected in zip(found, fused, exact, strict=True):
        assert (ours.dtype, ours.shape) == (torch.float32, expected.shape)
        scale = expected.norm().float()
        assert (ours - expected).norm() <= 1e-6 * scale
        assert (ours - twin).norm() <= 1e-6 * scale


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("layout", ["joints before bodies", "some of the bodies", "every other number"])
def test_a_pose_may_be_laid_out_in_any_way(layout):
    surface, predicted, target = random_case(5, 37, 4, 11)

    def laid_out(pose):
        features, transforms = pose.features, pose.transforms
        if layout == "joints before bodies":
            return Pose(features.T.contiguous().T, transforms.transpose(1, 2).contiguous().transpose(1, 2))
        if layout == "some of the bodies":
            return Pose(torch.cat([features] * 2)[5:], torch.cat([transforms] * 2, 1)[:, 5:])
        return Pose(features.repeat_interleave(2, 1)[:, ::2], transforms.repeat_interleave(2, 2)[..., ::2])

    other = laid_out(predicted)
    assert not other.transforms.is_contiguous()
    blend_shapes = surface.blend_shapes.mT.contiguous().mT
    value = LOSS(Surface(blend_shapes, surface.weights), other, laid_out(target))
    torch.testing.assert_close(value, LOSS(surface, predicted, target))
    inputs = vars(other).values(), vars(laid_out(target)).values()
    _, *gradients = mesh_loss_operator(blend_shapes, surface.weights, *inputs[0], *inputs[1], True, "triton")
    torch.testing.assert_close(gradients, [*value_and_gradients(LOSS, surface, predicted, target)[1:]])


@pytest.mark.usefixtures("kernel")
def test_only_the_prediction_gets_a_gradient_and_none_is_computed_without_need(monkeypatch):
    surface, predicted, target = random_case(3, 20, 4, 11)
    target.features.requires_grad_()
    assert not LOSS(surface, predicted, target).requires_grad
    predicted.features.requires_grad_()
    with torch.no_grad():
        alone = LOSS(surface, predicted, target)
    value = LOSS(surface, predicted, target)
    (3 * value).backward()
    assert target.features.grad is None
    assert torch.equal(value, alone)
    expected = value_and_gradients(MESH_LOSSES["fused"], surface, predicted, target)[1]
    assert (predicted.features.grad - 3 * expected).norm() <= 1e-6 * (3 * expected).norm()


@pytest.mark.usefixtures("kernel")
def test_a_body_that_is_not_finite_spoils_no_other():
    surface, predicted, target = random_case(5, 37, 4, 11)
    expected = value_and_gradients(LOSS, surface, predicted, target)[1:]
    predicted.features[2, 3] = torch.nan
    value, *found = value_and_gradients(LOSS, surface, predicted, target)
    assert value.isnan()
    others = [0, 1, 3, 4]
    assert found[0][2].isnan().all()
    assert torch.equal(found[0][others], expected[0][others])
    assert torch.equal(found[1][:, others], expected[1][:, others])


@pytest.mark.usefixtures("kernel")
def test_the_operator_passes_pytorchs_checks():
    surface, predicted, target = random_case(2, 20, 4, 11)
    inputs = (*vars(predicted).values(), *vars(target).values())
    checks = ("test_schema", "test_faketensor")
    torch.library.opcheck(
        mesh_loss_operator, (surface.blend_shapes, surface.weights, *inputs, True, "triton"), test_utils=checks
    )


def test_memory_grows_by_less_than_a_mesh_for_each_body(kernel, monkeypatch):
    """Of what the kernel is given to write to, at the size of a body; the kernel itself has no other memory."""

    class Idle:
        def __getitem__(self, grid):
            return lambda *arguments, **options: None

    monkeypatch.setattr(kernel, "_mesh_loss", Idle())

    def peak_bytes(rows):
        surface, predicted, target = random_case(rows, 6890, 22, 206)
        inputs = (*vars(predicted).values(), *vars(target).values())
        with PeakBytes() as counted:
            kernel.mesh_loss_and_gradients(surface.blend_shapes, surface.weights, *inputs, True)
        return counted.peak

    one_mesh = 6890 * 3 * 4
    small, large = peak_bytes(100), peak_bytes(1000)
    assert small < 4e7
    assert (large - small) / 900 < one_mesh / 5


def test_what_it_cannot_take_is_refused(kernel, monkeypatch):
    with pytest.raises(SettingError) as error:
        LOSS(*random_case(3, 20, 4, 11, torch.float64))
    assert str(error.value) == 'mesh "triton": needs float32, not float64; give "fused".'
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.delitem(sys.modules, NAME)
    monkeypatch.setitem(sys.modules, NAME, import_module(NAME))
    with pytest.raises(SettingError) as error:
        LOSS(*random_case(3, 20, 4, 11))
    assert str(error.value) == ('mesh "triton": needs a GPU, or TRITON_INTERPRET=1 before Python starts; give "fused".')


def test_without_triton_it_is_refused(monkeypatch):
    monkeypatch.delitem(sys.modules, NAME, raising=False)
    monkeypatch.setitem(sys.modules, "triton", None)
    with pytest.raises(SettingError) as error:
        LOSS(*random_case(3, 20, 4, 11))
    assert str(error.value) == (
        'mesh "triton": triton is not installed; install it (a PyTorch for CUDA brings it), or give "fused".'
    )


@pytest.mark.slow
def test_the_kernel_compiles_for_a_gpu(tmp_path):
    triton_kernels.compile_for_a_gpu("mesh_loss", tmp_path)


IN_A_GRAPH = """
import torch
from tests.humor.test_triton_mesh_loss import LOSS, MESH_LOSSES, random_case, value_and_gradients
def compiled(*given):
    return LOSS(*given)
for rows in (3, 5, 7):
    case = random_case(rows, 37, 4, 11)
    found = value_and_gradients(torch.compile(compiled, fullgraph=True, backend="aot_eager"), *case)
    torch.testing.assert_close(found, value_and_gradients(MESH_LOSSES["fused"], *case), atol=1e-4, rtol=1e-4)
"""


@pytest.mark.slow
def test_it_compiles_as_a_part_of_one_graph():
    triton_kernels.run("-c", IN_A_GRAPH, TRITON_INTERPRET="1")


WITH_A_TARGET_TOO_FEW = """
from tests.humor.test_triton_mesh_loss import LOSS, Pose, SettingError, random_case
surface, predicted, target = random_case(3, 20, 4, 11)
try:
    LOSS(surface, predicted, Pose(target.features[1:], target.transforms))
except SettingError as error:
    text = 'mesh "triton": got a tensor (2, 11) where the others need (3, 11); correct it.'
    assert str(error) == text, error
else:
    raise AssertionError("not refused")
"""


@pytest.mark.slow
def test_poses_that_do_not_fit_each_other_are_refused():
    triton_kernels.run("-c", WITH_A_TARGET_TOO_FEW, TRITON_INTERPRET="1")


ON_A_GPU = """
import torch
from humor.skinning import Pose, Surface
from tests.humor.test_triton_mesh_loss import LOSS, MESH_LOSSES, random_case, value_and_gradients
def on_gpu(x):
    return type(x)(*(each.cuda() for each in list(vars(x).values())[:2]))
for rows in (0, 1, 33, 2000):
    case = [on_gpu(x) for x in random_case(rows, 6890, 22, 206)]
    found, again = (value_and_gradients(LOSS, *case) for _ in range(2))
    for ours, same, twin in zip(found, again, value_and_gradients(MESH_LOSSES["fused"], *case)):
        assert torch.equal(ours, same)
        assert (ours - twin).norm() <= 1e-5 * twin.norm()
"""


@pytest.mark.cuda
def test_the_kernel_on_a_gpu_is_the_loss_by_operators():
    triton_kernels.run("-c", ON_A_GPU)
