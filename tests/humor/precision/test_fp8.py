"""Float8 rounds as its formats do, layers in it are their slow twins, and only large layers multiply in it."""

import sys
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import humor.precision
from humor import HumorModel, Precision
from humor.errors import SettingError
from humor.precision.fp8 import Float8Layers, emulated_layer, float8_layers, round_to_float8

ACTIVATIONS, GRADIENTS = torch.float8_e4m3fn, torch.float8_e5m2
FORMATS = {
    # format       largest     half a gap, of the number   smallest that has all digits
    ACTIVATIONS: (448.0,       2.0**-4,                    2.0**-6),
    GRADIENTS:   (57344.0,     2.0**-3,                    2.0**-14),
}  # fmt: skip
FLOAT32_ROUNDING = 2.0**-22  # what scaling and scaling back add, in float32
HIDDEN = {"encoder": (3, 6, 9), "decoder": (3, 6), "prior_net": (3, 6, 9)}  # in between 339, 678, 387 and 96, 216


def drawn(*shape, seed=0, size=1.0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * size


def slow_rounding(x, dtype):
    """Number by number, from the list of all that the format has, ties to the even code."""
    codes = torch.arange(256, dtype=torch.int32).to(torch.uint8).view(dtype).double()
    values = sorted({value for value in codes.tolist() if abs(value) <= torch.finfo(dtype).max})
    scale = torch.tensor(torch.finfo(dtype).max / x.abs().max().item(), dtype=torch.float32)

    def nearest(value):
        apart = [abs(value - each) for each in values]
        ways = [each for each, distance in zip(values, apart, strict=True) if distance == min(apart)]
        return min(ways, key=lambda each: torch.tensor(each).to(dtype).view(torch.uint8).item() % 2)

    rounded = torch.tensor([nearest(value) for value in (x * scale).flatten().tolist()], dtype=torch.float32)
    return rounded.reshape(x.shape) / scale


@pytest.mark.parametrize("dtype", FORMATS)
def test_rounding_takes_the_nearest_number_that_the_format_has(dtype):
    x = drawn(6, 8) * 10 ** drawn(6, 8, seed=1)
    assert torch.equal(round_to_float8(x, dtype), slow_rounding(x, dtype))


@pytest.mark.parametrize("dtype", FORMATS)
@given(st.integers(0, 999), st.floats(-30, 30))
def test_a_number_is_off_by_half_a_gap_at_most(dtype, seed, magnitude):
    most, unit, smallest = FORMATS[dtype]
    x = drawn(50, seed=seed, size=2.0**magnitude) * 4 ** drawn(50, seed=seed + 1)
    step = x.abs().max() / most  # 1 before scaling
    bound = (unit + FLOAT32_ROUNDING) * torch.maximum(x.abs(), smallest * step)
    assert ((round_to_float8(x, dtype) - x).abs() <= bound).all()


@pytest.mark.parametrize("dtype", FORMATS)
@given(st.integers(-20, 20))
def test_rounding_does_not_know_the_scale(dtype, power):
    x = drawn(40)
    assert torch.equal(round_to_float8(x * 2.0**power, dtype), round_to_float8(x, dtype) * 2.0**power)
    torch.testing.assert_close(round_to_float8(x * 3.0, dtype).abs().max(), 3 * x.abs().max())


@pytest.mark.parametrize("dtype", FORMATS)
def test_what_the_format_has_is_kept_and_nothing_overflows(dtype):
    most = FORMATS[dtype][0]
    held = torch.tensor([most, -most, most / 2, 1.0, -0.75, 0.0])
    assert torch.equal(round_to_float8(held, dtype), held)
    for x in (torch.tensor([3e38, -3e38, 1.0]), torch.tensor([1e-30, -1e-30]), torch.zeros(3)):
        assert round_to_float8(x, dtype).isfinite().all()
    assert round_to_float8(torch.tensor([3e38]), dtype).item() == pytest.approx(3e38, rel=1e-6)
    assert round_to_float8(torch.tensor([1.0, torch.nan]), dtype).isnan().any()


@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_and_its_gradients_are_those_of_rounded_operands(bias):
    layer, rows, pull = nn.Linear(32, 16, bias), drawn(2, 5, 32).requires_grad_(), drawn(2, 5, 16, seed=1)
    emulated_layer(layer)(rows).backward(pull)
    x, w, g = (
        round_to_float8(rows.detach(), ACTIVATIONS),
        round_to_float8(layer.weight.detach(), ACTIVATIONS),
        round_to_float8(pull, GRADIENTS),
    )
    product = torch.einsum("abi,oi->abo", x, w) + (layer.bias if bias else 0)
    torch.testing.assert_close(emulated_layer(layer)(rows), product)
    torch.testing.assert_close(rows.grad, torch.einsum("abo,oi->abi", g, w))
    torch.testing.assert_close(layer.weight.grad, torch.einsum("abo,abi->oi", g, x))
    if bias:
        torch.testing.assert_close(layer.bias.grad, pull.sum((0, 1)))


def test_exact_operands_give_float32s_numbers():
    layer, rows, pull = nn.Linear(4, 2), torch.tensor([[448.0, 1.0, -2.0, 0.5]]), torch.tensor([[57344.0, 8.0]])
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[448.0, -4.0, 0.25, 3.0], [1.0, 7.0, 0.0, -448.0]]))
    found, expected = rows.clone().requires_grad_(), rows.clone().requires_grad_()
    ours, theirs = emulated_layer(layer)(found), layer(expected)
    assert torch.equal(ours, theirs)
    gradients = [torch.autograd.grad(y, (x, layer.weight), pull) for y, x in ((ours, found), (theirs, expected))]
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))


def test_in_autocast_a_layer_takes_and_gives_its_format():
    layer, rows = nn.Linear(16, 16), drawn(4, 16)
    with torch.autocast("cpu", torch.bfloat16):
        found = emulated_layer(layer)(rows)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), emulated_layer(layer)(rows.bfloat16().float()), rtol=2.0**-7, atol=0.01)


@pytest.mark.parametrize("width", [1, 4, 16])
def test_the_layers_of_a_network_that_are_large_enough(width):
    with torch.device("meta"):
        model = HumorModel(width)
    hidden = [f"{part}.net.{number}" for part, numbers in HIDDEN.items() for number in numbers]
    assert list(float8_layers(model)) == (hidden if width >= 4 else [])
    assert {"encoder.net.0", "prior_net.net.0", "decoder.net.0"}.isdisjoint(float8_layers(model, 1))


def test_a_layer_needs_both_sides_large_and_multiples_of_16():
    network = nn.Sequential(*(nn.Linear(*sides) for sides in ((32, 32), (32, 16), (40, 32), (32, 48), (31, 32))))
    assert list(float8_layers(network, 32)) == ["0", "3"]
    assert list(float8_layers(nn.Linear(32, 32), 16)) == [""]


def test_layers_multiply_in_float8_only_while_they_are_active():
    layer, rows = nn.Linear(32, 32), drawn(3, 32)
    layers, plain = Float8Layers(layer, emulated_layer, 16), layer(rows)
    names = list(layer.state_dict())
    with layers.active():
        assert torch.equal(layer(rows), emulated_layer(layer)(rows))
        assert not torch.equal(layer(rows), plain)
        assert list(layer.state_dict()) == names
    assert torch.equal(layer(rows), plain)
    with pytest.raises(RuntimeError), layers.active():
        layer(rows[:, :3])  # of another width
    assert torch.equal(layer(rows), plain)


@pytest.fixture
def a_gpu_with_float8(monkeypatch):
    """A device with float8 as far as checks go, and in place of torchao a converter that doubles a layer's output."""
    converted = []

    def convert(layer, *, config):
        converted.append((layer, config))
        return SimpleNamespace(forward=lambda rows: 2 * nn.functional.linear(rows, layer.weight, layer.bias))

    fake = SimpleNamespace(convert_to_float8_training=convert, Float8LinearConfig=lambda **settings: settings)
    monkeypatch.setitem(sys.modules, "torchao", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "torchao.float8", fake)
    monkeypatch.setattr(humor.precision.presets, "find_spec", lambda name: name == "torchao" or None)
    monkeypatch.setattr(Precision, "_device_has", lambda precision, device: True)
    return converted


def test_torchao_is_given_the_large_layers_and_no_other(a_gpu_with_float8):
    network = nn.Sequential(nn.Linear(2048, 2048), nn.Linear(2048, 512))
    half_weights, rows = Precision("fp8").half_weights(network), drawn(1, 2048)
    assert a_gpu_with_float8 == [(network[0], {"pad_inner_dim": True})]
    plain = network[0](rows)
    with half_weights.active():
        torch.testing.assert_close(network[0](rows), 2 * plain)
        assert "forward" not in network[1].__dict__


def test_float8_is_refused_where_it_cannot_be(monkeypatch):
    there = "fp32, bf16, fp16, bf16-weights, fp16-weights"
    with pytest.raises(SettingError) as error:
        Precision("fp8").half_weights(nn.Linear(2, 2))
    assert str(error.value) == f"precision fp8: not on cpu, which has {there}; give one."
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 9))
    monkeypatch.setattr(humor.precision.presets, "find_spec", lambda name: None)
    with pytest.raises(SettingError) as error:
        Precision("fp8").require(torch.device("cuda"))
    others = "fp32, tf32, bf16, fp16, bf16-weights, fp16-weights"
    assert str(error.value) == (
        f"precision fp8: needs torchao, which is not installed; pip install torchao, or give one of {others}."
    )
    monkeypatch.setattr(humor.precision.presets, "find_spec", lambda name: name)
    assert Precision("fp8").supports("cuda")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 6))
    assert not Precision("fp8").supports("cuda")
