"""Properties of intervals and verdicts; test_error_rates.py simulates their error rates."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from bench.harness.stats.verdict import (
    FIRST_LOOK,
    Interval,
    Rule,
    SequentialTest,
    block_value,
    interval_of,
    next_look,
)

LOG_RATIOS = st.floats(-3.0, 3.0).map(lambda x: round(x, 6))
MANY = st.lists(LOG_RATIOS, min_size=2, max_size=40)
ERRORS = st.floats(1e-9, 0.5)
SHARES = st.floats(0.001, 0.9)
MIRRORED = {"slower": "faster", "faster": "slower", "same": "same", "unclear": "unclear"}


def finished(values, rule):
    test = SequentialTest(rule)
    for value in values:
        test.add([value])
    test.finish()
    return test


@given(MANY, ERRORS)
def test_an_interval_contains_the_mean(values, error):
    interval = interval_of(values, error)
    assert interval.low <= interval.estimate <= interval.high
    assert interval.estimate == pytest.approx(np.mean(values), abs=1e-12)


@given(MANY, ERRORS)
def test_an_interval_is_students(values, error):
    assume(np.ptp(values) > 1e-4)
    known = scipy_stats.ttest_1samp(values, 0.0).confidence_interval(1 - error)
    interval = interval_of(values, error)
    assert (interval.low, interval.high) == pytest.approx((known.low, known.high), rel=1e-5, abs=1e-9)


@given(st.lists(LOG_RATIOS, max_size=1), ERRORS, SHARES)
def test_fewer_than_two_values_are_unclear(values, error, share):
    interval = interval_of(values, error)
    assert (interval.low, interval.high) == (-math.inf, math.inf)
    assert Rule(share).verdict(interval) == "unclear"
    assert finished(values, Rule(share)).verdict == "unclear"


@given(MANY, SHARES, ERRORS)
def test_swapping_the_versions_mirrors_the_interval_and_the_verdict(values, share, error):
    rule = Rule(share, error)
    test, mirrored = finished(values, rule), finished([-x for x in values], rule)
    there, back = test.interval, mirrored.interval
    assert (back.low, back.estimate, back.high) == pytest.approx((-there.high, -there.estimate, -there.low))
    assert mirrored.verdict == MIRRORED[test.verdict]


@given(st.lists(st.lists(st.tuples(*[st.floats(0.001, 10.0)] * 2), min_size=3, max_size=5), min_size=8, max_size=16))
def test_the_unit_of_time_changes_nothing(blocks):
    def values(scale):
        return [block_value([math.log((scale * new) / (scale * old)) for old, new in pairs]) for pairs in blocks]

    in_seconds, in_milliseconds = finished(values(1.0), Rule()), finished(values(1000.0), Rule())
    assert in_milliseconds.interval.low == pytest.approx(in_seconds.interval.low, abs=1e-9)
    assert in_milliseconds.interval.high == pytest.approx(in_seconds.interval.high, abs=1e-9)
    assert values(1000.0) == pytest.approx(values(1.0), abs=1e-12)


@given(SHARES, SHARES, st.floats(-1.0, 1.0), st.floats(-1.0, 1.0))
def test_what_is_same_stays_same_under_a_wider_threshold(one, other, low, high):
    narrow, wide = sorted((one, other))
    low, high = (0.999 * math.log1p(narrow) * x for x in sorted((low, high)))
    interval = Interval((low + high) / 2, low, high)
    assert Rule(narrow).verdict(interval) == "same"
    assert Rule(wide).verdict(interval) == "same"


@given(st.floats(-1.0, 1.0), st.floats(0.0, 1.0), SHARES)
def test_the_verdict_follows_from_the_interval(middle, half, share):
    matters, interval = math.log1p(share), Interval(middle, middle - half, middle + half)
    inside = -matters < interval.low and interval.high < matters
    above, below = interval.low > 0, interval.high < 0
    expected = "same" if inside else "slower" if above else "faster" if below else "unclear"
    assert Rule(share).verdict(interval) == expected


@given(st.floats(-1.0, 1.0), st.floats(0.0, 1.0), st.floats(0.0, 1.0), SHARES)
def test_an_unclear_interval_stays_unclear_when_it_is_widened(middle, half, more, share):
    interval = Interval(middle, middle - half, middle + half)
    assume(Rule(share).verdict(interval) == "unclear")
    assert Rule(share).verdict(interval.widened(more)) == "unclear"


@given(st.floats(1e-6, 0.9), st.integers(1, 200))
def test_the_errors_of_all_looks_sum_to_the_case_s_and_of_all_cases_to_the_run_s(error, cases):
    rule = Rule(error_rate=error, cases=cases)
    for looks in (0, 1, 3, 200):
        errors = [rule.error_at(look) for look in range(looks)]
        assert all(0 < later < sooner for sooner, later in pairwise(errors))
        assert sum(errors) <= error / cases * 5 / 6 * (1 + 1e-12)
        assert sum(errors) + rule.error_left(looks) == pytest.approx(error / cases)


def test_looks_are_due_at_counts_that_grow_by_30_percent():
    taken = [next_look(0)]
    while len(taken) < 25:
        taken.append(next_look(taken[-1]))
    assert taken[0] == FIRST_LOOK
    for sooner, later in pairwise(taken):
        assert sooner < later <= max(sooner + 1, 1.3 * sooner)
    assert taken[-1] > 100


@given(st.lists(LOG_RATIOS, min_size=1, max_size=60), st.sampled_from([1, 2]))
def test_the_interval_is_computed_when_a_look_is_due_and_once_at_the_end(values, together):
    rule, test = Rule(), SequentialTest(Rule())
    expected, look, due = interval_of([], 1.0), 0, FIRST_LOOK
    for count in range(together, len(values) + 1, together):
        assert test.waits_for_first_look == (count - together < FIRST_LOOK)
        if count >= due:
            expected, look, due = interval_of(values[:count], rule.error_at(look)), look + 1, next_look(count)
        assert test.add(values[count - together : count]) == (rule.verdict(expected) != "unclear")
        assert test.interval == expected
    if rule.verdict(expected) == "unclear" and len(test.values) > 1:
        expected = interval_of(test.values, rule.error_left(look))
    assert test.finish() == rule.verdict(expected)
    assert test.interval == expected


@given(st.lists(LOG_RATIOS, min_size=1, max_size=9))
def test_a_block_is_the_median_of_all_means_of_two_pairs(pairs):
    means = [(pairs[i] + pairs[j]) / 2 for i in range(len(pairs)) for j in range(i, len(pairs))]
    assert block_value(pairs) == pytest.approx(np.median(means))
    assert block_value([-x for x in pairs]) == pytest.approx(-block_value(pairs))


@given(st.lists(LOG_RATIOS, min_size=10, max_size=20), st.sampled_from([-500.0, 500.0]))
def test_a_block_withstands_outliers_in_a_fifth_of_its_pairs(pairs, far):
    spoilt = [*pairs[len(pairs) // 5 :], *([far] * (len(pairs) // 5))]
    assert min(pairs) <= block_value(spoilt) <= max(pairs)
