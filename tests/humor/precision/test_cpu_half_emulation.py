"""Products of half numbers on a CPU that lacks the format: rounded once, forward and backward, and nowhere else."""

from contextlib import nullcontext

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

from humor.cli.app import main
from humor.lifting.networks import PoseFormer
from humor.precision import cpu_half_emulation
from humor.precision.cpu_half_emulation import emulated
from humor.precision.cpu_half_emulation import half_products as products

HALVES = (torch.bfloat16, torch.float16)


@pytest.fixture
def lacking(monkeypatch):
    """A CPU without either format."""
    monkeypatch.setattr(cpu_half_emulation, "emulated", lambda kind: True)


@pytest.mark.parametrize("kind", HALVES)
def test_a_linear_layer_is_rounded_once_in_either_direction(lacking, kind):
    torch.manual_seed(0)
    layer, rows, told = nn.Linear(300, 20), torch.randn(7, 300), torch.randn(7, 20).to(kind)
    with products(), torch.autocast("cpu", kind):
        rows = rows.requires_grad_()
        out = layer(rows)
        out.backward(told)
    halves = [x.detach().to(kind).double() for x in (rows, layer.weight, layer.bias, told)]
    inputs, weight, bias, gradient = halves
    assert out.dtype == kind
    # Sums of 300 in float32 may fall to the other side of a rounding than those in float64: one unit, here and there.
    for found, exact in (
        (out, inputs @ weight.T + bias),
        (rows.grad, gradient @ weight),
        (layer.weight.grad, gradient.T @ inputs),
    ):
        expected = exact.float().to(kind).float()
        off = (found.float() - expected).abs()
        assert (off <= torch.finfo(kind).eps * expected.abs().clamp(min=1e-3)).all()
        assert (off == 0).float().mean() > 0.99


@pytest.mark.parametrize("kind", HALVES)
def test_products_agree_with_pytorch_s_own(lacking, kind):
    torch.manual_seed(0)
    a, b, c = (torch.randn(3, 5, 5).to(kind) for _ in range(3))
    signal, taps = torch.randn(2, 9, 4).to(kind), torch.randn(1, 9, 1).to(kind)

    def taken():
        return [torch.bmm(a, b), torch.baddbmm(a, b, c, beta=0.5, alpha=2), nn.functional.conv1d(signal, taps)]

    theirs = taken()
    with products():
        ours = taken()
    assert {x.dtype for x in ours} == {kind}
    torch.testing.assert_close(ours, theirs, rtol=4 * torch.finfo(kind).eps, atol=1e-2)


@pytest.mark.parametrize("kind", HALVES)
def test_a_network_s_loss_and_gradients_agree_with_pytorch_s_own(lacking, kind):
    def taken():
        torch.manual_seed(0)
        network, points, told = PoseFormer(9), torch.randn(2, 9, 17, 2), torch.randn(2, 17, 3)
        with torch.autocast("cpu", kind):
            places = network(points)
        loss = (places.float() - told).norm(dim=-1).mean()
        (1000 * loss).backward()
        return loss.item(), torch.cat([weight.grad.flatten() for weight in network.parameters()])

    loss, gradient = taken()
    with products():
        own_loss, own_gradient = taken()
    unit = torch.finfo(kind).eps
    assert own_loss == pytest.approx(loss, rel=2 * unit)
    assert torch.linalg.vector_norm(own_gradient - gradient) < 10 * unit * torch.linalg.vector_norm(gradient)


def test_what_the_cpu_has_is_left_to_it(monkeypatch):
    monkeypatch.setattr(cpu_half_emulation, "emulated", lambda kind: False)
    with products():
        assert not _get_current_dispatch_mode_stack()
    monkeypatch.setattr(cpu_half_emulation, "emulated", lambda kind: kind == torch.float16)
    seen = []
    monkeypatch.setattr(cpu_half_emulation, "_widened", lambda x: seen.append(x) or x)
    with products():
        a = torch.ones(2, 2)
        _ = a @ a, a.bfloat16() @ a.bfloat16(), a.double() @ a.double()
    assert not seen


def test_no_other_format_is_ever_emulated():
    assert not emulated(torch.float32)
    assert not emulated(torch.float64)


@pytest.mark.parametrize(
    ("arguments", "times"),
    [
        (["sample", "--checkpoint", "none.pt"], 1),
        (["reconstruct", "--checkpoint", "none.pt"], 1),
        (["fit", "--checkpoint", "none.pt", "--observations", "none.npz"], 1),
        (["train", "--data", "none"], 1),
        (["train", "--data", "none", "--execution", "compile"], 0),  # its compiler knows half precision
        (["study", "--data", "none"], 0),  # tells times
        (["profile", "--data", "none"], 0),
    ],
)
def test_commands_use_them_but_those_that_tell_times(lacking, monkeypatch, tmp_path, arguments, times):
    entered = []
    monkeypatch.setattr(cpu_half_emulation, "_Float32Products", lambda kinds: entered.append(kinds) or nullcontext())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main([*arguments, "--out", "out"])
    assert len(entered) == times
