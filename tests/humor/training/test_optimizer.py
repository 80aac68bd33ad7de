"""The optimizers are torch's, Adamax in one pass over memory where a C compiler is, and skip what is not finite."""

import copy
import logging
import math
import subprocess
import sys
from functools import partial, partialmethod

import pytest
import torch

from humor.errors import SettingError
from humor.training import fused_adamax
from humor.training.execution import assume_device_type
from humor.training.optimizer import Adamax, AdamW
from tests.support import triton_kernels


@pytest.fixture(params=["compiled", "operators", "cuda", "triton"])
def every_update(request, monkeypatch):
    """The update as it is on a CPU with and without a compiler, and as it is on a GPU in either way."""
    if request.param == "triton":
        interpreted_triton()
        monkeypatch.setattr(Adamax, "__init__", partialmethod(Adamax.__init__, gpu_update="triton"))
    elif request.param == "compiled":
        needs_a_compiler()
    elif request.param == "operators":
        monkeypatch.setattr(fused_adamax, "compiled_library", lambda: None)
    with assume_device_type("cuda" if request.param in ("cuda", "triton") else "cpu"):
        yield


def needs_a_compiler():
    if fused_adamax.compiled_library() is None:
        pytest.skip("no C compiler with OpenMP here")


def interpreted_triton():
    return triton_kernels.interpreted("humor.training.triton_adamax")


OPTIMIZERS = {Adamax: torch.optim.Adamax, AdamW: partial(torch.optim.AdamW, weight_decay=0.1)}


@pytest.mark.usefixtures("every_update")
@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_an_optimizer_is_torchs(kind):
    torch.manual_seed(0)
    layers = [torch.nn.Linear(7, 5) for _ in range(2)]
    layers[1].load_state_dict(layers[0].state_dict())
    ours = kind(layers[0].parameters(), lr=1e-2)
    theirs = OPTIMIZERS[kind](layers[1].parameters(), lr=1e-2)
    for _ in range(50):
        rows, losses = torch.randn(3, 7), []
        for layer, optimizer in zip(layers, (ours, theirs), strict=True):
            optimizer.zero_grad()
            losses.append(layer(rows).square().sum())
            losses[-1].backward()
            optimizer.step()
        torch.testing.assert_close(*losses, atol=0, rtol=1e-5)
        for a, b in zip(layers[0].parameters(), layers[1].parameters(), strict=True):
            torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)
    assert ours.taken == 1


@pytest.mark.usefixtures("every_update")
@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_skipped_step_changes_nothing(bad, first, kind):
    torch.manual_seed(0)
    layer = torch.nn.Linear(3, 2)
    optimizer = kind(layer.parameters())
    if not first:
        layer(torch.randn(4, 3)).sum().backward()
        optimizer.step()
    before = copy.deepcopy((layer.state_dict(), optimizer.state_dict()["state"]))
    layer.weight.grad, layer.bias.grad = torch.ones(2, 3), torch.tensor([1.0, bad])
    optimizer.step()
    assert optimizer.taken == 0
    assert all(torch.equal(value, before[0][name]) for name, value in layer.state_dict().items())
    for number, state in optimizer.state_dict()["state"].items():
        for name, value in state.items():
            new = torch.full_like(value, 1e-8 if name == "exp_inf" else 0.0)
            assert torch.equal(value, before[1].get(number, {}).get(name, new))
    layer.bias.grad = torch.ones(2)
    optimizer.step()
    assert optimizer.taken == 1
    assert all(p.isfinite().all() for p in layer.parameters())


@pytest.mark.usefixtures("every_update")
@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_a_scaler_passes_its_flag_to_the_optimizer(kind):
    torch.manual_seed(0)
    layers = [torch.nn.Linear(3, 2) for _ in range(2)]
    layers[1].load_state_dict(layers[0].state_dict())
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    scaled, plain = (kind(layer.parameters()) for layer in layers)
    rows = torch.randn(4, 3)
    scaler.scale(layers[0](rows).square().sum()).backward()
    scaler.step(scaled)
    scaler.update()
    layers[1](rows).square().sum().backward()
    plain.step()
    torch.testing.assert_close(layers[0].weight, layers[1].weight)
    before = layers[0].weight.clone()
    scaler.scale(layers[0](rows * 1e30).square().sum()).backward()
    scaler.step(scaled)
    scaler.update()
    assert torch.equal(layers[0].weight, before)
    assert scaled.taken == 0
    assert scaler.get_scale() == 2.0**9


def random_lists(sizes, dtype=torch.float32):
    """Weights, gradients, averages and norms, and the other arguments of an update."""
    random = torch.Generator().manual_seed(0)
    lists = [[torch.randn(size, generator=random, dtype=dtype) for size in sizes] for _ in range(4)]
    lists[3] = [norm.abs() for norm in lists[3]]
    return *lists, [1e-3 * (1 + k) for k in range(len(sizes))], 0.9, 0.999, 1e-8, 0.5


def updated(update, arguments):
    arguments = copy.deepcopy(arguments)
    update(*arguments)
    return arguments[:4]


@pytest.mark.parametrize("threads", [1, 3])
def test_the_compiled_library_is_that_by_operators(threads, monkeypatch):
    """For empty weights, single numbers, and sizes about those at which threads divide the work."""
    needs_a_compiler()
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    arguments = random_lists([0, 1, 16383, 16384, 16385, 100_003])
    arguments[1][1][0], arguments[3][2][5], arguments[1][3][7] = 0.0, math.nan, 1e30
    found = updated(fused_adamax.update_operator, arguments)
    monkeypatch.setattr(fused_adamax, "compiled_library", lambda: None)
    expected = updated(fused_adamax.update_operator, arguments)
    torch.testing.assert_close(found, expected, atol=1e-7, rtol=1e-6, equal_nan=True)
    assert found[0][2][5].isnan()
    assert not torch.equal(found[0][5], arguments[0][5])


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("bad", [None, math.nan, -math.nan, math.inf, -math.inf])
def test_one_number_that_is_not_finite_is_found_wherever_it_is(bad, compiled, monkeypatch):
    if compiled:
        needs_a_compiler()
    else:
        monkeypatch.setattr(fused_adamax, "compiled_library", lambda: None)
    largest = torch.finfo(torch.float32).max  # whose square is not finite
    gradients = [torch.full((size,), -largest) for size in (0, 1, 16385, 40_000)]
    assert fused_adamax.finite_operator(gradients)
    for tensor, at in ((1, 0), (2, 16384), (3, 0), (3, 16383), (3, 39_999)):
        spoilt = [gradient.clone() for gradient in gradients]
        spoilt[tensor][at] = 0.0 if bad is None else bad
        assert fused_adamax.finite_operator(spoilt) == (bad is None)


@pytest.mark.parametrize("taken", [1.0, 0.0])
def test_the_triton_update_is_that_by_operators(taken, monkeypatch):
    """For sizes about those of a program, more weights than one launch takes, and none."""
    kernel = interpreted_triton()
    sizes = [0, 1, kernel.BLOCK - 1, kernel.BLOCK, kernel.BLOCK + 1, *range(kernel.WEIGHTS)]
    *lists, _, beta1, beta2, eps, scale = random_lists(sizes)
    lists[1][1][0], lists[3][2][5], lists[1][3][7] = 0.0, math.nan, 1e30
    expected, found = copy.deepcopy(lists), copy.deepcopy(lists)
    versions = [weight._version for weight in found[0]]
    if taken:
        monkeypatch.setattr(fused_adamax, "compiled_library", lambda: None)
        fused_adamax.update_operator(*expected, [1e-3] * len(sizes), beta1, beta2, eps, scale)
    numbers = torch.tensor(taken), torch.tensor(scale), torch.tensor(1e-3)
    kernel.update_weights(*found, *numbers, beta1, beta2, eps)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6, equal_nan=True)
    assert all(weight._version > version for weight, version in zip(found[0], versions, strict=True))
    kernel.update_weights([], [], [], [], *numbers, beta1, beta2, eps)


def test_the_triton_update_refuses_what_it_cannot_take():
    kernel, weight = interpreted_triton(), torch.ones(2, 3).T
    with pytest.raises(SettingError) as error:
        kernel.update_weights([weight], [weight], [weight], [weight], *torch.ones(3), 0.9, 0.999, 1e-8)
    assert str(error.value) == ('gpu_update "triton": needs contiguous float32 weights and gradients; give "foreach".')


@pytest.mark.slow
def test_the_triton_update_compiles_for_a_gpu_and_passes_over_memory_once(tmp_path):
    triton_kernels.compile_for_a_gpu("adamax", tmp_path)


ON_A_GPU = """
import torch
from humor.training.optimizer import Adamax
torch.manual_seed(0)
layers = [torch.nn.Linear(700, 500, device="cuda") for _ in range(2)]
layers[1].load_state_dict(layers[0].state_dict())
optimizers = [Adamax(layer.parameters(), 1e-2, gpu_update=name) for layer, name in zip(layers, ("foreach", "triton"))]
for step in range(10):
    rows = torch.randn(3, 700, device="cuda") * (float("nan") if step == 4 else 1)
    for layer, optimizer in zip(layers, optimizers):
        optimizer.zero_grad()
        layer(rows).square().sum().backward()
        optimizer.step()
    for a, b in zip(layers[0].parameters(), layers[1].parameters()):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)
"""


@pytest.mark.cuda
def test_the_triton_update_on_a_gpu_is_that_of_foreach():
    """In a process of its own, where neither the interpreter nor checks of shapes are about the kernel."""
    subprocess.run([sys.executable, "-c", ON_A_GPU], check=True, timeout=300)


@pytest.mark.parametrize("kind", ["float64", "transposed"])
def test_what_the_compiled_library_cannot_take_is_updated_by_operators(kind):
    needs_a_compiler()
    weight, *others = (each[0].view(2, 3) for each in random_lists([6], torch.float64)[:4])
    if kind == "transposed":
        weight, *others = weight.float().T.contiguous().T, *(other.float() for other in others)
    assert weight.is_contiguous() == (kind == "float64")
    gradient, average, norm = others
    expected = weight - 0.5 * (0.9 * average + 0.1 * gradient) / torch.maximum(0.999 * norm, gradient.abs())
    fused_adamax.update_operator([weight], [gradient], [average], [norm], [0.5], 0.9, 0.999, 1e-8, 1.0)
    torch.testing.assert_close(weight, expected, atol=1e-6, rtol=1e-6)


def test_without_a_compiler_one_warning_says_so(monkeypatch, caplog):
    monkeypatch.setenv("CC", "no-such-compiler")
    fused_adamax.compiled_library.cache_clear()
    layer = torch.nn.Linear(3, 2)
    optimizer, before = Adamax(layer.parameters()), layer.weight.clone()
    try:
        with caplog.at_level(logging.WARNING):
            for _ in range(2):
                layer(torch.ones(4, 3)).sum().backward()
                optimizer.step()
    finally:
        fused_adamax.compiled_library.cache_clear()
    assert not torch.equal(layer.weight, before)
    assert [record.getMessage() for record in caplog.records] == [
        "Adamax takes about twice the time on this CPU: no-such-compiler did not compile its update ([Errno 2] No such"
        " file or directory: 'no-such-compiler'). Install gcc, or name a C compiler with OpenMP in the variable CC."
    ]


def test_a_compiler_that_fails_is_quoted(monkeypatch, caplog, tmp_path):
    compiler = tmp_path / "cc"
    compiler.write_text("#!/bin/sh\necho \"cc: error: unrecognized option '-fopenmp'\" >&2\nexit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CC", str(compiler))
    assert fused_adamax.compiled_library.__wrapped__() is None
    assert "did not compile its update (cc: error: unrecognized option '-fopenmp')" in caplog.text


def test_pytorch_knows_that_weights_were_written_to():
    """Half copies of the weights are made again by it."""
    layer = torch.nn.Linear(3, 2)
    optimizer, before = Adamax(layer.parameters()), layer.weight._version
    layer(torch.ones(4, 3)).sum().backward()
    optimizer.step()
    assert layer.weight._version > before


def test_the_operators_pass_pytorchs_checks():
    arguments = random_lists([3, 5])
    checks = ("test_schema", "test_faketensor")
    torch.library.opcheck(fused_adamax.update_operator, arguments, test_utils=checks)
    torch.library.opcheck(fused_adamax.finite_operator, (arguments[1],), test_utils=checks)


@pytest.mark.usefixtures("every_update")
def test_a_state_is_torchs():
    """Either optimizer goes on from the other's checkpoint."""
    torch.manual_seed(0)
    layers = [torch.nn.Linear(3, 2) for _ in range(2)]
    ours, theirs = Adamax(layers[0].parameters()), torch.optim.Adamax(layers[1].parameters(), lr=1e-4)
    for first, second in ((ours, theirs), (theirs, ours)):
        for optimizer, layer in zip((ours, theirs), layers, strict=True):
            optimizer.zero_grad()
            layer(torch.ones(4, 3)).square().sum().backward()
            optimizer.step()
        second.load_state_dict(first.state_dict())
        state = second.state_dict()["state"]
        torch.testing.assert_close(state, first.state_dict()["state"], atol=0, rtol=0)
        assert {name: value.dtype for name, value in state[0].items()} == dict.fromkeys(
            ("step", "exp_avg", "exp_inf"), torch.float32
        )
