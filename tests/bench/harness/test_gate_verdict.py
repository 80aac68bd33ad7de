"""The gate's words follow from an interval and a one-sided bound; test_gate_error_rates.py simulates its errors."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from bench.harness.stats.gate_verdict import GATE_VERDICTS, GateTest, gate_verdict, gate_verdict_of_run, upper_bound
from bench.harness.stats.verdict import FIRST_LOOK, Interval, Rule, SequentialTest, interval_of, next_look

LOG_RATIOS = st.floats(-3.0, 3.0).map(lambda x: round(x, 6))
MANY = st.lists(LOG_RATIOS, min_size=2, max_size=40)
ERRORS, SHARES, CASES = st.floats(1e-9, 0.5), st.floats(0.001, 0.9), st.integers(1, 200)


def finished(values, rule, kind=GateTest):
    test = kind(rule)
    for value in values:
        test.add([value])
    test.finish()
    return test


@given(MANY, ERRORS)
def test_the_bound_is_students_and_one_sided(values, error):
    assume(np.ptp(values) > 1e-4)
    known = scipy_stats.ttest_1samp(values, 0.0, alternative="less").confidence_interval(1 - error).high
    assert upper_bound(values, error) == pytest.approx(known, rel=1e-5, abs=1e-9)


@given(st.lists(LOG_RATIOS, max_size=1), ERRORS, SHARES)
def test_fewer_than_two_values_never_pass(values, error, share):
    assert upper_bound(values, error) == math.inf
    assert finished(values, Rule(share)).verdict == "unclear"


@given(st.floats(-1.0, 1.0), st.floats(0.0, 1.0), st.floats(-1.0, 1.0), SHARES)
def test_a_case_passes_only_where_a_slowdown_that_matters_is_ruled_out(middle, half, bound, share):
    interval, rule = Interval(middle, middle - half, middle + half), Rule(share)
    word = gate_verdict(interval, bound, rule)
    ruled_out = bound < math.log1p(share)
    expected = "faster" if middle + half < 0 else "passes" if ruled_out else "slower" if middle > half else "unclear"
    assert word == expected


@given(MANY, SHARES, ERRORS, CASES)
def test_what_the_two_sided_rule_calls_the_same_passes(values, share, error, cases):
    """Its interval is wider, so that it asks for more."""
    rule = Rule(share, error, cases)
    test = GateTest(rule)
    test.values = values
    test.finish()
    assert test.upper_bound <= test.interval.high + 1e-12
    if rule.verdict(test.interval) == "same":
        assert test.verdict in ("passes", "faster")


@given(MANY, SHARES, ERRORS)
def test_the_number_of_cases_moves_the_interval_and_not_the_bound(values, share, error):
    one, many = GateTest(Rule(share, error, 1)), GateTest(Rule(share, error, 100))
    for test in (one, many):
        test.values = values
        test.finish()
    assert many.upper_bound == pytest.approx(one.upper_bound)
    assert many.interval.high >= one.interval.high


@given(MANY, SHARES, ERRORS, st.floats(0.1, 1.0))
def test_a_faster_head_passes_wherever_a_slower_one_does(values, share, error, gain):
    rule = Rule(share, error, 5)
    tests = []
    for shift in (0.0, -gain):
        tests.append(GateTest(rule))
        tests[-1].values = [value + shift for value in values]
        tests[-1].finish()
    if tests[0].verdict in ("passes", "faster"):
        assert tests[1].verdict in ("passes", "faster")


@given(st.lists(LOG_RATIOS, min_size=1, max_size=60), st.sampled_from([1, 2]), CASES)
def test_it_looks_when_the_other_rule_looks_and_pays_for_each_look(values, together, cases):
    rule = Rule(cases=cases)
    test, look, due, bound = GateTest(rule), 0, FIRST_LOOK, math.inf
    for count in range(together, len(values) + 1, together):
        if count >= due:
            bound = upper_bound(values[:count], cases * rule.error_at(look))
            look, due = look + 1, next_look(count)
        clear = test.add(values[count - together : count])
        assert test.upper_bound == pytest.approx(bound)
        assert clear == (gate_verdict(test.interval, bound, rule) != "unclear")
    spent = sum(cases * rule.error_at(each) for each in range(look)) + cases * rule.error_left(look)
    assert spent == pytest.approx(rule.error_rate)


@given(MANY)
def test_its_interval_is_that_of_the_other_rule_at_the_same_look(values):
    rule = Rule(1e-6, 1e-3, 7)  # no verdict, so that both look as often
    assert finished(values, rule).interval == finished(values, rule, SequentialTest).interval


def test_a_doubtful_interval_passes_where_its_bound_is_below_what_matters():
    """[-5 %, +2 %] of an unchanged case: a slowdown of 3 % is ruled out."""
    interval = Interval(-0.015, -0.05, 0.035)
    assert Rule(0.03).verdict(interval) == "unclear"
    assert gate_verdict(interval, 0.02, Rule(0.03)) == "passes"
    assert gate_verdict(interval_of([], 1.0), math.inf, Rule()) == "unclear"


@given(st.lists(st.sampled_from(GATE_VERDICTS)))
def test_the_verdict_of_a_run_is_the_worst_of_its_cases(words):
    order = ["slower", "unclear", "faster", "passes", "untouched"]
    expected = next((word for word in order if word in words), "unclear")
    assert gate_verdict_of_run(words) == expected
