"""Emulated half-precision multiplies are rounded once, forward and backward, and nothing else is changed."""

from contextlib import nullcontext

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

from humor.cli.app import main
from humor.lifting.networks import PoseFormer
from humor.precision import cpu_half_emulation
from humor.precision.cpu_half_emulation import emulate_half_on_cpu, needs_emulation

HALVES = (torch.bfloat16, torch.float16)


@pytest.fixture
def lacking(monkeypatch):
    """A CPU without either dtype."""
    monkeypatch.setattr(cpu_half_emulation, "needs_emulation", lambda dtype: True)


@pytest.mark.parametrize("dtype", HALVES)
def test_a_linear_layer_is_rounded_once_in_either_direction(lacking, dtype):
    torch.manual_seed(0)
    layer, rows, pull = nn.Linear(300, 20), torch.randn(7, 300), torch.randn(7, 20).to(dtype)
    with emulate_half_on_cpu(), torch.autocast("cpu", dtype):
        rows = rows.requires_grad_()
        out = layer(rows)
        out.backward(pull)
    halves = [x.detach().to(dtype).double() for x in (rows, layer.weight, layer.bias, pull)]
    inputs, weight, bias, gradient = halves
    assert out.dtype == dtype
    # Sums of 300 in float32 may fall to the other side of a rounding than those in float64: one unit, here and there.
    for found, exact in (
        (out, inputs @ weight.T + bias),
        (rows.grad, gradient @ weight),
        (layer.weight.grad, gradient.T @ inputs),
    ):
        expected = exact.float().to(dtype).float()
        off = (found.float() - expected).abs()
        assert (off <= torch.finfo(dtype).eps * expected.abs().clamp(min=1e-3)).all()
        assert (off == 0).float().mean() > 0.99


@pytest.mark.parametrize("dtype", HALVES)
def test_multiplies_agree_with_pytorch_s_own(lacking, dtype):
    torch.manual_seed(0)
    a, b, c = (torch.randn(3, 5, 5).to(dtype) for _ in range(3))
    signal, taps = torch.randn(2, 9, 4).to(dtype), torch.randn(1, 9, 1).to(dtype)

    def multiply():
        return [torch.bmm(a, b), torch.baddbmm(a, b, c, beta=0.5, alpha=2), nn.functional.conv1d(signal, taps)]

    theirs = multiply()
    with emulate_half_on_cpu():
        ours = multiply()
    assert {x.dtype for x in ours} == {dtype}
    torch.testing.assert_close(ours, theirs, rtol=4 * torch.finfo(dtype).eps, atol=1e-2)


@pytest.mark.parametrize("dtype", HALVES)
def test_a_network_s_loss_and_gradients_agree_with_pytorch_s_own(lacking, dtype):
    def loss_and_gradient():
        torch.manual_seed(0)
        network, points, target = PoseFormer(9), torch.randn(2, 9, 17, 2), torch.randn(2, 17, 3)
        with torch.autocast("cpu", dtype):
            joints = network(points)
        loss = (joints.float() - target).norm(dim=-1).mean()
        (1000 * loss).backward()
        return loss.item(), torch.cat([weight.grad.flatten() for weight in network.parameters()])

    loss, gradient = loss_and_gradient()
    with emulate_half_on_cpu():
        our_loss, our_gradient = loss_and_gradient()
    unit = torch.finfo(dtype).eps
    assert our_loss == pytest.approx(loss, rel=2 * unit)
    assert torch.linalg.vector_norm(our_gradient - gradient) < 10 * unit * torch.linalg.vector_norm(gradient)


def test_dtypes_that_the_cpu_has_are_not_emulated(monkeypatch):
    monkeypatch.setattr(cpu_half_emulation, "needs_emulation", lambda dtype: False)
    with emulate_half_on_cpu():
        assert not _get_current_dispatch_mode_stack()
    monkeypatch.setattr(cpu_half_emulation, "needs_emulation", lambda dtype: dtype == torch.float16)
    widened = []
    monkeypatch.setattr(cpu_half_emulation, "_widen", lambda x: widened.append(x) or x)
    with emulate_half_on_cpu():
        a = torch.ones(2, 2)
        _ = a @ a, a.bfloat16() @ a.bfloat16(), a.double() @ a.double()
    assert not widened


def test_no_other_dtype_is_ever_emulated():
    assert not needs_emulation(torch.float32)
    assert not needs_emulation(torch.float64)


@pytest.mark.parametrize(
    ("arguments", "times"),
    [
        (["sample", "--checkpoint", "none.pt"], 1),
        (["reconstruct", "--checkpoint", "none.pt"], 1),
        (["fit", "--checkpoint", "none.pt", "--observations", "none.npz"], 1),
        (["train", "--data", "none"], 1),
        (["train", "--data", "none", "--execution", "compile"], 0),  # its compiler knows half precision
        (["study", "--data", "none"], 0),  # measures time
        (["profile", "--data", "none"], 0),
    ],
)
def test_commands_emulate_unless_they_measure_time(lacking, monkeypatch, tmp_path, arguments, times):
    entered = []
    monkeypatch.setattr(
        cpu_half_emulation, "_Float32Multiplies", lambda dtypes: entered.append(dtypes) or nullcontext()
    )
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main([*arguments, "--out", "out"])
    assert len(entered) == times
