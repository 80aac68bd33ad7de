"""A profile's steps add up, treat precisions alike, and keep first steps and the warm-up apart."""

from collections import Counter
from contextlib import closing
from itertools import count

import numpy as np
import pytest
import torch

from humor import HumorLoss
from humor.data import BatchLoader
from humor.errors import SettingError
from humor.study.interleaved_profile import (
    PHASES,
    InterleavedSteps,
    ProfileSettings,
    RepeatedSampler,
    StepTimer,
    StepTimes,
)
from humor.training.phase_timer import PhaseTimer
from tests.support import golden_values as golden

CPU = torch.device("cpu")
TINY = ProfileSettings(batch=2, precisions=("fp32", "bf16"), widths=(1,), steps=2, warm_up=1, rows=4)


@pytest.fixture
def interleaved(split):
    """Steps of two precisions on one network, by a clock that is one second later each time that it is read."""
    sampler = RepeatedSampler(split.train, TINY.batch, len(TINY.precisions))
    with closing(BatchLoader(sampler.batch, 100).epoch(0)) as batches:
        now = map(float, count()).__next__
        yield InterleavedSteps(TINY, 1, HumorLoss(golden.bodies()), batches, CPU, now)


def scripted(interleaved, monkeypatch, duration, **changes):
    """Make steps take no time and report what `duration` says of a precision and a count; returns what was taken."""
    taken = []

    def take(precision):
        taken.append(precision)
        whole = duration(precision, taken.count(precision))
        return StepTimes(whole, {"sample": 0.75 * whole, "loss": 0.25 * whole}, {})

    monkeypatch.setattr(interleaved, "time_step", take)
    monkeypatch.setattr(interleaved, "settings", ProfileSettings(**{**vars(TINY), **changes}))
    return taken


def test_phases_add_up_to_a_step_that_is_timed_around_them(interleaved):
    """The clock is read before a step, at the start of each phase, and twice after the last."""
    runs = interleaved.first_steps()
    interleaved.measure(runs, lambda share: None)
    for run in runs:
        assert len(run.steps) == TINY.steps
        for step in (run.first, *run.steps):
            assert step.host == dict.fromkeys(PHASES, 1.0)
            assert (step.whole, step.other) == (len(PHASES) + 2, 2)


def test_the_first_step_and_the_warm_up_are_in_no_median(interleaved, monkeypatch):
    scripted(interleaved, monkeypatch, lambda precision, count: {1: 100.0, 2: 50.0}.get(count, float(count)))
    runs = interleaved.first_steps()
    interleaved.measure(runs, lambda share: None)
    summary = runs[0].summary()
    assert (summary["first"], summary["step"], summary["steps"]) == (100.0, 3.5, 2)
    assert summary["phases"]["sample"] == {"host": 0.75 * 3.5, "device": None, "first": 75.0}
    assert (summary["step_low"], summary["step_high"]) == (3.25, 3.75)


def test_precisions_alternate(interleaved, monkeypatch):
    taken = scripted(interleaved, monkeypatch, lambda precision, count: 1.0, steps=5)
    interleaved.measure(interleaved.first_steps(), lambda share: None)
    assert taken == ["fp32", "bf16"] * (1 + TINY.warm_up + 5)


def test_a_slow_precision_ends_in_time_and_its_steps_lie_among_the_others(interleaved, monkeypatch):
    slow = {"fp32": 0.1, "bf16": 10.0}
    taken = scripted(interleaved, monkeypatch, lambda name, count: slow[name], warm_up=5, steps=30, seconds=30.0)
    runs, shares = interleaved.first_steps(), []
    interleaved.measure(runs, shares.append)
    assert [len(run.steps) for run in runs] == [30, 3]
    first, warm_up, measured = taken[:2], taken[2:10], "".join(name[0] for name in taken[10:])
    assert Counter(first) == {"fp32": 1, "bf16": 1}
    assert Counter(warm_up) == {"fp32": 5, "bf16": 3}
    assert max(map(len, measured.split("b"))) <= 11
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_all_precisions_see_the_same_windows_and_start_alike(interleaved, monkeypatch):
    """Each first step makes the optimizer's averages anew."""
    seen = []
    for name, step in interleaved.steps.items():
        prepare = step.prepare

        def watched(batch, name=name, prepare=prepare):
            seen.append((name, batch.past.trans, len(interleaved.optimizer.state)))
            return prepare(batch)

        monkeypatch.setattr(step, "prepare", watched)
    interleaved.first_steps()
    for precision in TINY.precisions:
        interleaved.time_step(precision)
    names, windows, states = zip(*seen, strict=True)
    assert names == ("fp32", "bf16", "fp32", "bf16")
    assert states[:2] == (0, 0)
    assert states[2] > 0
    assert torch.equal(windows[0], windows[1])
    assert torch.equal(windows[2], windows[3])
    assert not torch.equal(windows[0], windows[2])


def test_float16_takes_its_updates_from_the_first_step_on(split):
    sampler = RepeatedSampler(split.train, 2, 1)
    with closing(BatchLoader(sampler.batch, 1).epoch(0)) as batches:
        settings = ProfileSettings(precisions=("fp16",))
        interleaved = InterleavedSteps(settings, 1, HumorLoss(golden.bodies()), batches, CPU)
        interleaved.first_steps()
    assert interleaved.optimizer.taken == 1


def test_a_gpu_has_its_own_time_beside_the_hosts():
    timer = StepTimer(CPU)
    timer.gpu = PhaseTimer(CPU)  # in place of a GPU's
    for phase in ("wait", "backward", "network backward", "optimize"):
        timer.enter(phase)
    host, device = timer.finish()
    assert set(host) == set(device) == {"wait", "backward", "optimize"}
    assert timer.finish() == ({}, {})


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"batch": 0}, "batch 0: expected a whole number from 1."),
        ({"steps": 0}, "steps 0: expected a whole number from 1."),
        ({"warm_up": -1}, "warm_up -1: expected a whole number from 0."),
        ({"seconds": float("nan")}, "seconds nan: expected a number above 0."),
        ({"widths": (1, 0)}, "widths 1 0: expected whole numbers from 1."),
        ({"precisions": ("fp32", "fp32")}, "precisions fp32 fp32: expected one or more, none twice."),
        ({"precisions": ()}, "precisions : expected one or more, none twice."),
    ],
)
def test_a_wrong_setting_is_one_sentence(changes, sentence):
    with pytest.raises(SettingError) as error:
        ProfileSettings(**changes)
    assert str(error.value) == sentence


def test_the_sampler_draws_what_the_trainers_draws(split):
    repeated, once = RepeatedSampler(split.train, 3, 2), RepeatedSampler(split.train, 3, 1)
    for index in range(4):
        for mine, theirs in zip(repeated.draw(0, index), once.draw(0, index // 2), strict=True):
            assert np.array_equal(mine, theirs)
    alike = RepeatedSampler(split.train, 3, 2, one_layout=True)
    assert {tuple(map(tuple, alike.draw(0, index))) for index in range(9)} == {tuple(map(tuple, once.draw(0, 0)))}
