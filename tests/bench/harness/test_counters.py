"""What a call does is counted: operators, bytes, casts, memory, waits, calls, graph breaks."""

import gc
import sys
from collections import Counter

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

import humor
from bench.harness.counters.operators import count_operators
from bench.harness.counters.python_calls import count_graph_breaks, count_python_calls
from humor.rotations import rotvec_to_rotmat


def test_bytes_are_what_is_read_and_what_is_written():
    x, out = torch.ones(10), torch.empty(10)
    for call, read, written in (
        (lambda: x + x, 80, 40),
        (lambda: torch.add(x, 1, out=out), 40, 40),
        (lambda: out.add_(x), 80, 40),
        (lambda: torch._foreach_add_([out, out], 1.0), 80, 80),
        (lambda: torch.stack([x, x]), 80, 80),
        (lambda: x.view(2, 5), 0, 0),
        (lambda: torch.empty(5), 0, 0),
    ):
        counted = count_operators(call)
        assert (counted.bytes_read, counted.bytes_written) == (read, written)


def test_flops_are_those_of_pytorch_s_own_counter():
    layer = torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
    rows = torch.ones(3, 8)

    def call():
        (layer(rows).sum() + torch.bmm(rows.expand(2, 3, 8), rows.T.expand(2, 8, 3)).sum()).backward()

    with FlopCounterMode(display=False) as slow:
        call()
    assert count_operators(call).flops == slow.get_total_flops() > 0


def test_casts_are_named_by_their_types():
    x, half = torch.ones(10), torch.empty(10, dtype=torch.float16)
    counted = count_operators(lambda: (half.copy_(x), x.double(), x.float(), x.clone()))
    assert counted.casts == {"float32 -> float16": 1, "float32 -> float64": 1}
    assert counted.cast_bytes == {"float32 -> float16": 60, "float32 -> float64": 120}


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda x: x[0].item(), "aten._local_scalar_dense"),
        (lambda x: float(x.sum()), "aten._local_scalar_dense"),
        (lambda x: 1 if x.any() else 0, "aten._local_scalar_dense"),
        (lambda x: x.nonzero(), "aten.nonzero"),
        (lambda x: x[x > 0], "aten.index"),
        (lambda x: x.masked_select(x > 0), "aten.masked_select"),
        (lambda x: torch.equal(x, x), "aten.equal"),
        (lambda x: x.unique(), "aten._unique2"),
        (lambda x: x.tolist(), "Tensor.tolist"),
        (lambda x: x.numpy(), "Tensor.numpy"),
        (lambda x: x.cpu(), "Tensor.cpu"),
        (lambda x: x.index_put((x > 2,), x[:0]), "aten.index_put"),
    ],
)
def test_what_would_wait_for_a_device_is_a_host_sync(call, name):
    assert count_operators(lambda: call(torch.ones(4))).host_syncs == {name: 1}


def test_what_needs_no_numbers_is_no_host_sync():
    def call():
        x = torch.ones(4)
        x[x > 2] = 0.0
        return x[torch.tensor([0, 1])], x.masked_fill(x > 0, 2.0), torch.where(x > 0, x, 1), x.to("cpu")

    assert count_operators(call).host_syncs == {}


def test_memory_is_new_storages_and_the_most_that_live_at_once():
    def call():
        a = torch.ones(100)  # 400 bytes
        b = a + 1
        del a
        c = b.view(10, 10).T
        c.add_(1)
        torch.add(b, 1, out=b)
        return torch.cat([b, b])

    gc.disable()
    try:
        memory = count_operators(call).memory
    finally:
        gc.enable()
    assert (memory.allocations, memory.peak, memory.live) == (3, 1200, 0)


def test_what_the_backward_pass_keeps_is_alive():
    x = torch.ones(100, requires_grad=True)

    def call():
        y = x * 2
        z = y.exp()
        total = z.sum()
        del y, z  # the graph keeps z
        a, b = torch.ones(100), torch.ones(100)
        del a, b
        return total

    assert count_operators(call).memory.peak == 400 + 4 + 800


def test_counting_changes_nothing_of_what_is_dispatched():
    body, seen = humor.BodyModel.mannequin(), []
    rotmats = torch.eye(3).expand(2, 22, 3, 3).clone().requires_grad_()

    class Plain(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            seen.append(str(func.overloadpacket))
            return func(*args, **(kwargs or {}))

    def call():
        rotmats.grad = None
        body(rotmats, torch.zeros(2, 16), torch.zeros(2, 3), "all").vertices.sum().backward()

    with Plain():
        call()
    assert count_operators(call).operators == Counter(seen)
    assert count_operators(call).operators["aten.addcmul_"] > 0  # what an autograd.Function does inside, too


def test_calls_are_those_of_named_functions_of_the_package(tmp_path):
    file = tmp_path / "made.py"
    file.write_text(
        "class A:\n    def f(self):\n        return [g(i) for i in range(3)] + list(h())\n"
        "def g(i):\n    return i\ndef h():\n    yield g(0)\n"
    )
    scope = {}
    exec(compile(file.read_text(), str(file), "exec"), scope)
    result, calls = count_python_calls(lambda: (scope["A"]().f(), rotvec_to_rotmat(torch.zeros(3)))[0], tmp_path)
    assert result == [0, 1, 2, 0]
    assert calls == {"made.A.f": 1, "made.g": 4}
    assert sys.getprofile() is None


def test_calls_of_an_uncounted_file_are_left_out(tmp_path):
    (tmp_path / "inner").mkdir()
    calls = {}
    for name in ("counted", "inner/left_out"):
        file = tmp_path / f"{name}.py"
        file.write_text("def f():\n    return 1\n")
        scope = {}
        exec(compile(file.read_text(), str(file), "exec"), scope)
        calls[name] = scope["f"]
    _, counted = count_python_calls(lambda: [f() for f in calls.values()], tmp_path, ("inner/left_out.py",))
    assert counted == {"counted.f": 1}


@pytest.mark.filterwarnings("ignore:.torch.jit.script_method:DeprecationWarning")  # by PyTorch of itself, Python 3.12
def test_graph_breaks_are_named():
    x = torch.ones(3)
    assert count_graph_breaks(lambda: x * 2 + 1) == (1, Counter())
    graphs, breaks = count_graph_breaks(lambda: x * 2 + x.sum().item())
    assert graphs >= 1
    assert any("item" in reason for reason in breaks), breaks
