"""Error rates and power of the sequential test on simulated noise.

A test fails where its count has a probability below one in a million if the stated rate holds; the seeds are fixed.
"""

import math

import numpy as np
import pytest
from scipy import stats

from bench.harness.stats.verdict import VERDICTS, Rule, SequentialTest, interval_of, next_look
from tests.support.simulated_machine import NOISES, Machine

RUNS, ROUNDS = 2000, 40
CHANGE = math.log1p(0.03)
SIGNIFICANCE = 1e-6
OFTEN_WRONG = Rule(error_rate=0.1)  # often enough to measure in some thousand runs


def looks(count: int, together: int) -> list[int]:
    """The numbers of values at which a test looks, up to `count`, if `together` of them are added at a time."""
    counts, due = [], next_look(0)
    for added in range(together, count + 1, together):
        if added >= due:
            counts.append(added)
            due = next_look(added)
    return counts


def intervals_at_looks(values: np.ndarray, rule: Rule, together: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper ends of the interval, (runs, looks), the look after the last round being the last."""
    low, high = [], []
    counts = looks(values.shape[1], together)
    errors = [*map(rule.error_at, range(len(counts))), rule.error_left(len(counts))]
    for count, error in zip([*counts, values.shape[1]], errors, strict=True):
        taken = values[:, :count]
        half = stats.t.isf(error / 2, count - 1) * taken.std(1, ddof=1) / math.sqrt(count)
        low.append(taken.mean(1) - half)
        high.append(taken.mean(1) + half)
    return np.array(low).T, np.array(high).T


def verdicts(values: np.ndarray, rule: Rule, together: int = 2) -> np.ndarray:
    """The verdict of every run: that of its first look that is clear, else of its last."""
    low, high = intervals_at_looks(values, rule, together)
    threshold = math.log1p(rule.slower_than)
    words = np.select(
        [(-threshold < low) & (high < threshold), low > 0, high < 0], ["same", "slower", "faster"], "unclear"
    )
    clear = words != "unclear"
    return words[np.arange(len(words)), np.where(clear.any(1), clear.argmax(1), -1)]


def at_most(count: int, rate: float, runs: int = RUNS) -> bool:
    """Whether `count` of the runs is no evidence against a rate of at most `rate`."""
    return bool(stats.binom.sf(count - 1, runs, rate) > SIGNIFICANCE)


@pytest.mark.parametrize("together", [1, 2])
def test_the_vectorized_procedure_equals_the_sequential_test(together):
    values = Machine("wild").simulate(CHANGE / 2, 40, 31, seed=4)  # half of what matters: every verdict occurs
    low, high = intervals_at_looks(values, OFTEN_WRONG, together)
    words = verdicts(values, OFTEN_WRONG, together)
    for run, numbers in enumerate(values):
        test = SequentialTest(OFTEN_WRONG)
        ended = not any(test.add(some) for some in numbers.reshape(-1, together))  # until it is clear
        assert test.finish() == words[run]
        last = len(looks(len(test.values), together)) - (not ended)
        assert (test.interval.low, test.interval.high) == pytest.approx((low[run, last], high[run, last]))
    assert len(set(words)) > 1


@pytest.mark.parametrize("isolated", [False, True], ids=["blocks", "isolated"])
@pytest.mark.parametrize("kind", NOISES)
def test_an_interval_misses_at_any_look_no_more_often_than_stated(kind, isolated):
    values = Machine(kind).simulate(CHANGE, RUNS, ROUNDS, seed=1, isolated=isolated)
    low, high = intervals_at_looks(values, OFTEN_WRONG, 1 if isolated else 2)
    missed = ((low > CHANGE) | (high < CHANGE)).any(1).sum()
    assert at_most(missed, OFTEN_WRONG.error_rate), f"{missed} of {RUNS}"


def test_looking_as_often_without_spending_the_error_would_miss_more_often():
    runs = 300
    values = Machine("even", second=0.0).simulate(0.0, runs, ROUNDS, seed=1)
    intervals = [[interval_of(numbers[:count], 0.1) for count in looks(2 * ROUNDS, 2)] for numbers in values]
    missed = sum(any(each.low > 0 or each.high < 0 for each in run) for run in intervals)
    assert not at_most(missed, 0.1, runs)


def test_always_building_in_the_same_order_would_miss_more_often():
    values = Machine("even", second=0.0).simulate(0.0, RUNS, ROUNDS, seed=1) + Machine("even").second
    low, high = intervals_at_looks(values, OFTEN_WRONG)
    assert not at_most(((low > 0) | (high < 0)).any(1).sum(), OFTEN_WRONG.error_rate)


@pytest.mark.parametrize("kind", NOISES)
def test_unchanged_code_is_called_slower_or_faster_no_more_often_than_stated(kind):
    words = verdicts(Machine(kind).simulate(0.0, RUNS, ROUNDS, seed=2), OFTEN_WRONG)
    assert at_most(np.isin(words, ["slower", "faster"]).sum(), OFTEN_WRONG.error_rate)


def test_unchanged_code_in_one_of_two_places_of_memory_is_not_called_slower():
    """With two values only, the first rounds agree by chance; a change below the threshold raises no alarm."""
    machine = Machine("even", scale=0.001, second=0.0, layout=0.0, places=0.02)
    words = verdicts(machine.simulate(0.0, RUNS, ROUNDS, seed=8), Rule(cases=18))
    assert at_most(np.isin(words, ["slower", "faster"]).sum(), 0.01 / 18)


@pytest.mark.parametrize("kind", NOISES)
def test_a_change_that_matters_is_called_same_no_more_often_than_stated(kind):
    words = verdicts(Machine(kind).simulate(CHANGE, RUNS, ROUNDS, seed=3), OFTEN_WRONG)
    assert at_most(np.isin(words, ["same", "faster"]).sum(), OFTEN_WRONG.error_rate)
    assert set(words) <= set(VERDICTS)


def test_a_run_of_many_cases_is_wrong_no_more_often_than_stated():
    cases, runs = 20, 300
    rule = Rule(error_rate=0.1, cases=cases)
    low, high = intervals_at_looks(Machine("heavy").simulate(0.0, runs * cases, ROUNDS, seed=5), rule)
    missed = ((low > 0) | (high < 0)).any(1).reshape(runs, cases).any(1).sum()
    assert at_most(missed, rule.error_rate, runs)


@pytest.mark.parametrize("scatter", [0.01, 0.02, 0.04], ids=lambda share: f"{share:.0%} a pair")
@pytest.mark.parametrize("change", [CHANGE, -CHANGE], ids=["slower", "faster"])
def test_a_change_of_3_percent_is_detected_in_19_of_20_runs_of_a_whole_suite(scatter, change):
    machine = Machine("even", scale=scatter / math.sqrt(2))
    words = verdicts(machine.simulate(change, RUNS, ROUNDS, seed=6), Rule(cases=18))
    detected = (words == ("slower" if change > 0 else "faster")).sum()
    assert stats.binom.cdf(detected, RUNS, 0.95) > SIGNIFICANCE, f"{detected} of {RUNS}"


@pytest.mark.parametrize("kind", ["even", "drifting", "sluggish", "heavy"])
def test_unchanged_code_is_called_same_in_9_of_10_runs(kind):
    words = verdicts(Machine(kind, scale=0.02).simulate(0.0, RUNS, ROUNDS, seed=7), Rule(cases=18))
    same = (words == "same").sum()
    assert stats.binom.cdf(same, RUNS, 0.9) > SIGNIFICANCE, f"{same} of {RUNS}"
