"""A precision's verdict follows from its time, its multiplies and its accuracy, and the reason from its operators."""

import math
from collections import Counter

import pytest
import torch

from bench.harness.modes.compare_precisions import lines
from bench.harness.stats.accuracy import Deviation, worst_deviation
from bench.harness.stats.precision_verdict import (
    OperatorProfile,
    PrecisionVerdict,
    explain,
    name_without_precision,
    speedup_interval,
    verdict_of,
)
from bench.harness.stats.verdict import Interval
from bench.project import BOUNDS
from humor import Precision
from humor.precision.presets import PRESETS


def test_unit_roundoffs_are_those_of_the_formats():
    units = {name: Precision(name).unit_roundoff for name in PRESETS}
    bits = {"fp32": 24, "tf32": 11, "bf16": 8, "fp16": 11, "bf16-weights": 8, "fp16-weights": 11, "fp8": 4}
    assert units == {name: 2.0**-exponent for name, exponent in bits.items()}


def test_the_worst_part_of_an_answer_is_what_counts():
    exact = {"loss": torch.tensor(1.0), "network": [torch.ones(4), torch.ones(2)], "only finite": torch.ones(3)}
    near = {**exact, "loss": torch.tensor(1.01), "only finite": 2 * torch.ones(3)}
    found = worst_deviation(near, exact, BOUNDS, 2.0**-8)
    assert (found.kind, found.wrong) == ("loss", False)
    assert found.error == pytest.approx(0.01)
    assert worst_deviation(near, exact, BOUNDS, 2.0**-11).wrong
    for value in (math.nan, math.inf):
        spoilt = worst_deviation({**near, "only finite": torch.tensor([1.0, value, 1.0])}, exact, BOUNDS, 2.0**-8)
        assert (spoilt.kind, spoilt.wrong) == ("only finite", True)


def test_bounds_grow_with_the_unit_and_a_loss_two_percent_off_is_outside_of_all():
    for bound in BOUNDS.values():
        assert bound(2.0**-11) <= bound(2.0**-8)
    assert BOUNDS["loss"](2.0**-8) < 0.02


RIGHT, OFF = Deviation("loss", 0.001, 0.01), Deviation("loss", 0.02, 0.01)
LOWER = OperatorProfile(Counter({"bfloat16": 8, "float32": 2}), 9_700_000)


@pytest.mark.parametrize(
    ("deviation", "profile", "time", "verdict"),
    [
        (RIGHT, LOWER, "faster", "pays"),
        (RIGHT, LOWER, "same", "does not pay"),
        (RIGHT, LOWER, "slower", "does not pay"),
        (RIGHT, LOWER, "unclear", "unclear"),
        (RIGHT, OperatorProfile(Counter({"float32": 10})), None, "not really half"),
        (OFF, LOWER, "faster", "wrong"),
        (OFF, OperatorProfile(Counter({"float32": 10})), None, "wrong"),
        (Deviation("loss", math.nan, 0.01), LOWER, "faster", "wrong"),
    ],
)
def test_the_verdict_needs_time_format_and_accuracy(deviation, profile, time, verdict):
    assert verdict_of(deviation, profile, time) == verdict


CASTS, TWICE = "casts of 9.7 M weights", "2.00 times as long as in float32"
PHASES = {"preparation": 0.0, "network": 4.0, "loss": 86.0, "optimizer": 10.0}


@pytest.mark.parametrize(
    ("verdict", "seconds", "phases", "sentence"),
    [
        ("pays", (2, 1), {}, f"the multiplies save 60% of the time, {CASTS} cost 10%"),
        ("does not pay", (2, 7), {}, f"{CASTS} cost 70% of the time, more than the 60% that the multiplies save"),
        ("does not pay", (16, 1), {}, f"the multiplies themselves take {TWICE}, and {CASTS} cost 10% of the time"),
        ("unclear", (2, 7), PHASES, "the loss is 86% of the step: at most 4% can be saved"),
        ("unclear", (6, 1), {}, f"the multiplies save 20% of the time; {CASTS} cost 10%, other operators the rest"),
    ],
)  # fmt: skip
def test_the_reason_names_what_decides_the_verdict(verdict, seconds, phases, sentence):
    lower, casts = seconds
    float32 = {"float32": 9.0, "rest": 1.0}
    work = OperatorProfile(
        Counter(), 9_700_000, seconds={"float32": 1.0, "bfloat16": lower, "casts": casts, "rest": 1.0}
    )
    assert explain(verdict, RIGHT, work, float32, phases) == sentence


def test_a_case_is_named_alike_in_all_precisions():
    names = [f"bench_a.py::bench_a[{precision}-study-ours]" for precision in ("bf16", "bf16-weights", "fp16")]
    precisions = ("bf16", "bf16-weights", "fp16")
    assert {name_without_precision(*pair) for pair in zip(names, precisions, strict=True)} == {"bench_a[study-ours]"}


def test_speed_ups_are_the_inverse_of_times_and_unknown_ends_are_null():
    interval = Interval(math.log(0.5), math.log(0.25), math.log(1.0))
    assert speedup_interval(interval) == pytest.approx((2.0, 1.0, 4.0))
    assert speedup_interval(None) == (None, None, None)
    assert speedup_interval(Interval(0.0, -math.inf, math.inf)) == (1.0, None, None)
    finding = PrecisionVerdict(
        "case", "bf16", "wrong", Deviation("loss", math.inf, math.inf), "why", interval, 0.1, True
    )
    assert (finding.as_json()["error"], finding.as_json()["bound"]) == (None, None)
    assert lines([finding])[1].split()[:3] == ["wrong", "case", "2.00"]
