"""A phase's work is counted operator by operator, and its limit is that work at the device's rates."""

from contextlib import closing

import pytest
import torch

from humor import HumorLoss
from humor.data import BatchLoader
from humor.study.interleaved_profile import InterleavedSteps, ProfileSettings, RepeatedSampler
from humor.study.phase_limits import PhaseWork, Rates, WorkCounter, limit_of, measure_rates, phase_limits
from humor.training.fused_adamax import update_operator
from tests.support import golden_values as golden

CPU = torch.device("cpu")
WEIGHTS = 9_725_976  # of the motion model


def rows():
    return torch.ones(3, 8)


@pytest.mark.parametrize(
    ("call", "operations", "numbers", "launches"),
    [
        (lambda x: x.view(24).detach(), {}, 0, 0),
        (lambda x: torch.empty_like(x), {}, 0, 0),
        (lambda x: x + x, {}, 3 * 24, 1),
        (lambda x: x.mul_(2), {}, 2 * 24, 1),
        (lambda x: torch.add(x, x, out=torch.empty(3, 8)), {}, 3 * 24, 1),
        (lambda x: x @ x.T, {"float32": 2 * 3 * 8 * 3}, 2 * 24 + 9, 1),
        (lambda x: x.double() @ torch.ones(8, 0).double(), {"float64": 0}, None, 4),
        (lambda x: update_operator([x], [x + 1], [x + 1], [x + 1], [0.1], 0.9, 0.999, 1e-8, 1.0), {}, 13 * 24, 4),
    ],
    ids=["views", "allocation", "addition", "in place", "out", "multiply", "double", "adamax"],
)
def test_the_work_of_an_operator(call, operations, numbers, launches):
    x = rows()
    with WorkCounter() as counter:
        counter.timer.enter("loss")
        call(x)
    work = counter.work["loss"]
    assert dict(work.operations) == operations
    assert work.launches == launches
    assert numbers is None or work.bytes == 4 * numbers


def test_work_belongs_to_its_phase_and_both_backward_passes_are_one():
    with WorkCounter() as counter:
        for phase in ("sample", "backward", "network backward", "optimize"):
            counter.timer.enter(phase)
            rows() + 1
    assert {phase: work.launches for phase, work in counter.work.items()} == {"sample": 2, "backward": 4, "optimize": 2}


@pytest.mark.parametrize(
    ("operations", "size", "limit"),
    [
        ({"float32": 200, "float16": 400}, 10, 200 / 100 + 400 / 400),
        ({"float32": 200}, 1000, 1000 / 250),
        ({"float8_e4m3fn": 1}, 1000, None),
        ({}, 0, 0),
    ],
)
def test_a_limit_is_the_longer_of_multiplies_and_memory(operations, size, limit):
    rates = Rates(copy=250.0, launch=0.5, multiply={"float32": 100.0, "float16": 400.0})
    work = PhaseWork(launches=3, bytes=size)
    work.operations.update(operations)
    seconds = rates.seconds(work)
    assert seconds["launches"] == 1.5
    assert limit_of(seconds) == limit
    named = {"prepare": {"limits": seconds}, "loss": {"limits": seconds}, "optimize": {"limits": seconds}}
    assert phase_limits({"work": named})["graph"] == (None if limit is None else 2 * limit)


def test_the_rates_of_this_device():
    rates = measure_rates(CPU, {"float32", "float8_e4m3fn"})
    assert set(rates.multiply) == {"float32"}
    assert 1e8 < rates.copy < 1e13
    assert 1e8 < rates.multiply["float32"] < 1e14
    assert 1e-9 < rates.launch < 1e-2


def test_the_phases_of_a_step_however_it_is_executed(split):
    """What is compiled or recorded dispatches nothing that could be counted, so that the step is run by operators."""

    def fail(*_):
        raise AssertionError("this is not eager")

    settings = ProfileSettings(batch=2, precisions=("fp32", "bf16"), widths=(1,))
    sampler = RepeatedSampler(split.train, settings.batch, len(settings.precisions))
    with closing(BatchLoader(sampler.batch, 100).epoch(0)) as batches:
        steps = InterleavedSteps(settings, 1, HumorLoss(golden.bodies()), batches, CPU)
        runs = steps.first_steps()
        for step in steps.steps.values():
            step.network = step._compiled_loss = fail
        steps.count_work(runs)
    single, half = (run.work for run in runs)
    assert set(single) == {"prepare", "sample", "loss", "backward", "optimize"}
    assert 8 * WEIGHTS <= single["optimize"].bytes / 4 < 8.01 * WEIGHTS
    assert single["sample"].operations.keys() == {"float32"}
    assert half["sample"].operations.total() == single["sample"].operations.total()
    assert half["sample"].operations["bfloat16"] > 100 * half["sample"].operations["float32"] > 0  # rotations
    assert half["loss"].operations == single["loss"].operations
    assert runs[1].formats() == {"float32", "bfloat16"}
