"""Error rates and power of the gate on simulated noise, and on the noise of a measured run.

A test fails where its count has a probability below one in a million if the stated rate holds; the seeds are fixed.
"""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from bench.harness.stats.gate_verdict import GateTest
from bench.harness.stats.verdict import Rule, block_value
from tests.bench.harness.test_error_rates import at_most, intervals_at_looks, looks
from tests.support.simulated_machine import NOISES, Machine

MEASURED = Path(__file__).parents[4] / "shared" / "gate" / "unchanged_default_suite.json"
RUNS, ROUNDS, CASES = 2000, 40, 100
MATTERS = math.log1p(0.03)
OFTEN_WRONG = Rule(error_rate=0.1, cases=CASES)  # often enough to measure in some thousand runs
PASSED = ["passes", "faster"]


def verdicts(values: np.ndarray, rule: Rule, together: int = 2) -> np.ndarray:
    """The gate's verdict of every run, (runs, values): that of its first look that is clear, else of its last."""
    low, high = intervals_at_looks(values, rule, together)
    bounds = []
    counts = looks(values.shape[1], together)
    errors = [*map(rule.error_at, range(len(counts))), rule.error_left(len(counts))]
    for count, error in zip([*counts, values.shape[1]], errors, strict=True):
        taken = values[:, :count]
        half = stats.t.isf(error * rule.cases, count - 1) * taken.std(1, ddof=1) / math.sqrt(count)
        bounds.append(taken.mean(1) + half)
    passes = math.log1p(rule.slower_than) > np.array(bounds).T
    words = np.select([high < 0, passes, low > 0], ["faster", "passes", "slower"], "unclear")
    clear = words != "unclear"
    return words[np.arange(len(words)), np.where(clear.any(1), clear.argmax(1), -1)]


@pytest.mark.parametrize("together", [1, 2])
def test_the_vectorized_procedure_equals_the_gate(together):
    values = Machine("wild").simulate(0.6 * MATTERS, 60, 31, seed=4)
    words = verdicts(values, OFTEN_WRONG, together)
    for run, numbers in enumerate(values):
        test = GateTest(OFTEN_WRONG)
        any(test.add(some) for some in numbers.reshape(-1, together))  # until it is clear
        assert test.finish() == words[run]
    assert len(set(words)) > 1


@pytest.mark.parametrize("isolated", [False, True], ids=["blocks", "isolated"])
@pytest.mark.parametrize("kind", NOISES)
def test_a_case_that_is_slower_by_what_matters_passes_no_more_often_than_stated(kind, isolated):
    """At the error rate of a whole run, however many cases there are: a run passes only where each of them does."""
    values = Machine(kind).simulate(MATTERS, RUNS, ROUNDS, seed=11, isolated=isolated)
    words = verdicts(values, OFTEN_WRONG, 1 if isolated else 2)
    assert at_most(np.isin(words, PASSED).sum(), OFTEN_WRONG.error_rate)


@pytest.mark.parametrize("kind", ["even", "heavy", "sluggish"])
def test_a_run_calls_an_unchanged_case_changed_no_more_often_than_stated(kind):
    cases, runs = 20, 300
    rule = Rule(error_rate=0.1, cases=cases)
    words = verdicts(Machine(kind).simulate(0.0, runs * cases, ROUNDS, seed=12), rule)
    wrong = np.isin(words, ["slower", "faster"]).reshape(runs, cases).any(1).sum()
    assert at_most(wrong, rule.error_rate, runs)


def test_passing_at_the_family_wise_rate_of_slower_would_be_needlessly_rare():
    """What the gate gains: the same noise, over a suite of 122 cases."""
    values, rule = Machine("even", scale=0.06).simulate(0.0, RUNS, 12, seed=13), Rule(cases=122)
    low, high = intervals_at_looks(values, rule)
    same = ((low > -MATTERS) & (high < MATTERS)).any(1).mean()
    passed = np.isin(verdicts(values, rule), PASSED).mean()
    assert passed > same + 0.2


@pytest.mark.parametrize("kind", ["even", "drifting", "sluggish", "heavy"])
def test_unchanged_code_passes_in_19_of_20_runs(kind):
    words = verdicts(Machine(kind, scale=0.02).simulate(0.0, RUNS, ROUNDS, seed=14), Rule(cases=122))
    passed = np.isin(words, PASSED).sum()
    assert stats.binom.cdf(passed, RUNS, 0.95) > 1e-6, f"{passed} of {RUNS}"


@pytest.mark.parametrize("change", [0.05, 0.1])
def test_a_slowdown_well_beyond_what_matters_is_called_slower(change):
    machine = Machine("even", scale=0.02)
    words = verdicts(machine.simulate(math.log1p(change), RUNS, ROUNDS, seed=15), Rule(cases=122))
    slower = (words == "slower").sum()
    assert stats.binom.cdf(slower, RUNS, 0.95) > 1e-6, f"{slower} of {RUNS}"


@pytest.fixture(scope="module")
def measured():
    """Block values of each case of a run of the whole suite over unchanged code, by case."""
    if not MEASURED.exists():
        pytest.skip(f"needs {MEASURED.name}, the verdicts of a run over unchanged code, in a folder beside the clone")
    cases = json.loads(MEASURED.read_text())["cases"]
    return {case["name"]: [block_value(half) for pairs in case["clusters"] for half in halves(pairs)] for case in cases}


def halves(pairs):
    """The two blocks of a round, whose boundary the file does not keep: they last about as long."""
    return pairs[: len(pairs) // 2], pairs[len(pairs) // 2 :]


def test_the_measured_run_passes_but_for_one_case(measured):
    """By the two-sided rule nine of its 122 cases were unclear."""
    words = {}
    for name, values in measured.items():
        test = GateTest(Rule(cases=len(measured)))
        any(test.add(values[at : at + 2]) for at in range(0, len(values), 2))
        words[name] = test.finish()
    unclear = [name for name, word in words.items() if word == "unclear"]
    assert set(words.values()) <= {"passes", "faster", "unclear"}
    assert len(unclear) <= 2


def standardized(measured):
    """All block values over the scale of their case's others, with either sign: unchanged code has no direction."""
    found = []
    for values in map(np.array, measured.values()):
        squares = np.sum(values**2) - values**2
        found += list(values / np.sqrt(squares / (len(values) - 1)))
    return np.array([*found, *(-x for x in found)])


@pytest.mark.parametrize("scatter", [0.25, 0.5, 0.95], ids=lambda share: f"quantile {share}")
def test_both_errors_are_as_stated_under_measured_noise(measured, scatter):
    noise = standardized(measured)
    scale = np.quantile([np.sqrt(np.mean(np.square(values))) for values in measured.values()], scatter)
    values = scale * np.random.default_rng(16).choice(noise, (RUNS, 2 * ROUNDS))
    unchanged, slower = verdicts(values, OFTEN_WRONG), verdicts(values + MATTERS, OFTEN_WRONG)
    assert at_most(np.isin(slower, PASSED).sum(), OFTEN_WRONG.error_rate)
    assert at_most(np.isin(unchanged, ["slower", "faster"]).sum(), OFTEN_WRONG.error_rate / CASES)
