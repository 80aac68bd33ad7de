"""A linear layer's time is split into casts, kernel and the rest, which add up."""

from dataclasses import dataclass, field

import pytest
import torch

from humor.study.torch_profiler import split_call, split_linear

CPU = torch.device("cpu")


@dataclass
class FakeEvent:
    """An event of the profiler, microseconds."""

    name: str
    cpu_time_total: float
    device_time_total: float = 0.0
    cpu_children: list["FakeEvent"] = field(default_factory=list)


CALL = FakeEvent("call", 100, 60, [
    FakeEvent("aten::linear", 90, 60, [
        FakeEvent("aten::to", 10, 5, [FakeEvent("aten::_to_copy", 9, 5)]),  # counted once
        FakeEvent("aten::to", 20, 15),
        FakeEvent("aten::linear", 50, 40, [FakeEvent("aten::addmm", 45, 40, [FakeEvent("aten::copy_", 3, 2)])]),
    ]),
])  # fmt: skip


@pytest.mark.parametrize(("on_gpu", "casts", "launch", "kernel"), [(False, 30, 25, 45), (True, 20, 40, 40)])
def test_a_call_is_split_into_casts_kernel_and_the_rest(on_gpu, casts, launch, kernel):
    expected = {"casts": casts / 1e6, "launch": launch / 1e6, "kernel": kernel / 1e6, "total": 1e-4}
    assert split_call(CALL, on_gpu) == pytest.approx(expected)


def test_only_half_precision_casts_and_the_parts_of_a_layer_add_up():
    calls = [call for _, call in split_linear(64, 4, ("fp32", "bf16"), CPU, 60.0)]
    assert [call.precision for call in calls] == ["fp32", "bf16"] * 10
    for call in calls:
        assert (call.casts > 0) == (call.precision == "bf16")
        assert min(call.kernel, call.launch) > 0
        assert call.casts + call.launch + call.kernel == pytest.approx(call.total)


def test_a_slow_layer_is_called_once_in_each_precision():
    assert [call.precision for _, call in split_linear(64, 4, ("fp32", "bf16"), CPU, 1e-9)] == ["fp32", "bf16"]
