"""A budget goes where a verdict is nearest, starves no case, and says what more of it would do."""

import math
import random
from types import SimpleNamespace

import numpy as np
import pytest

from bench.harness.case import BenchmarkId
from bench.harness.stats.gate_verdict import GateTest
from bench.harness.stats.verdict import FIRST_LOOK, Rule
from bench.harness.timing import budgeted_rounds
from bench.harness.timing.budget import TURNS, CaseProgress, advice, next_case, values_needed
from bench.harness.timing.budgeted_rounds import BudgetedRounds
from bench.harness.timing.pairing import Comparison, TimedBlock


def progress_of(values, seconds=1.0, rule=None, **more):
    """A case with these block values, of which each took so long."""
    made = CaseProgress(Comparison(GateTest(rule or Rule())), seconds=seconds * len(values), **more)
    for at in range(0, len(values), 2):
        made.comparison.rounds.append((TimedBlock(), TimedBlock()))
        made.test.add(values[at : at + 2])
    return made


def scattered(mean, spread, count=8, **more):
    """A case whose values have exactly this mean and spread."""
    values = np.array([1.0, -1.0] * (count // 2))
    return progress_of(list(mean + spread * values / np.std(values, ddof=1)), **more)


def test_the_case_that_is_nearest_to_a_verdict_is_measured_next():
    cases = {"far": scattered(0.0, 0.3), "near": scattered(0.0, 0.05), "slow": scattered(0.0, 0.05, seconds=60.0)}
    assert next_case(cases, 0) == "near"


def test_a_case_that_is_clearly_slower_is_near_too():
    cases = {"doubtful": scattered(0.02, 0.04), "slower": scattered(0.1, 0.04)}
    assert cases["slower"].seconds_left < cases["doubtful"].seconds_left


def test_every_fourth_turn_goes_to_the_case_that_waited_longest():
    cases = {
        "near": scattered(0.0, 0.05, last_turn=9),
        "far": scattered(0.0, 0.5, last_turn=3),
        "clear": scattered(0.0, 1e-4, last_turn=1),
    }
    assert [next_case(cases, turn) for turn in range(TURNS)] == ["near"] * (TURNS - 1) + ["far"]


def test_nothing_is_next_where_all_is_clear_over_or_a_control():
    assert next_case({}, 0) is None
    assert next_case({"clear": scattered(0.0, 1e-4), "over": scattered(0.0, 0.5, exhausted=True)}, 0) is None
    cases = {"control": scattered(0.0, 0.1, is_control=True)}
    assert next_case(cases, 0) is None
    assert next_case(cases | {"unclear": scattered(0.0, 0.5)}, 0) == "control"


@pytest.mark.parametrize(("mean", "spread"), [(0.0, 0.05), (0.0, 0.2), (0.01, 0.05), (-0.02, 0.1), (0.1, 0.1)])
def test_as_many_values_as_are_needed_are_enough_and_a_tenth_less_are_not(mean, spread):
    needed = values_needed(scattered(mean, spread).test)

    def is_clear(count):
        test = scattered(mean, spread, count=2 * math.ceil(count / 2)).test
        return test.verdict != "unclear" or test.finish() != "unclear"

    assert is_clear(needed + 2)
    assert needed <= FIRST_LOOK + 2 or not is_clear(0.8 * needed)


def test_advice_names_the_budget_that_is_expected_to_be_enough():
    near = scattered(0.0, 0.1, seconds=2.0)
    (sentence,) = advice({"near": near}, 300.0, 0)
    minutes = 1.5 * (300 + near.seconds_left) / 60
    assert sentence == f"--budget {minutes:.0f}min is expected to clear 1 of what is unclear."


def test_advice_names_a_case_that_no_budget_of_hours_clears():
    hopeless, near = scattered(0.0, 0.52, seconds=30.0), scattered(0.0, 0.06)
    sentences = advice({"bench[a]": hopeless, "bench[b]": near}, 300.0, 0)
    assert sentences[0] == "bench[a] scatters by 52% from block to block: no budget of hours would clear it."
    assert "is expected to clear 1 of what is unclear." in sentences[1]


def test_advice_knows_nothing_of_a_case_of_one_value():
    (sentence,) = advice({"one": progress_of([0.1])}, 300.0, 2)
    assert sentence.startswith("the budget ended before 3 of the cases were measured")


def test_advice_counts_what_was_not_reached_and_is_silent_where_no_round_is_left():
    assert advice({}, 300.0, 7) == ["the budget ended before 7 of the cases were measured; give a larger --budget."]
    assert advice({"over": scattered(0.0, 0.3, exhausted=True)}, 300.0, 0) == []


class Clock:
    """Cases that take simulated time: seconds of a round, the scatter of its values, and their mean if it is not 0."""

    def __init__(self, cases):
        self.now, self.cases, self.rounds = 0.0, cases, []
        self.rng = np.random.default_rng(0)

    def measure_round(self, comparison, pair, *_):
        seconds, scatter, *mean = self.cases[pair]
        self.now += seconds
        self.rounds.append(pair)
        comparison.rounds.append((TimedBlock(), TimedBlock()))
        comparison.test.add(list(self.rng.normal(sum(mean), scatter, 2)))

    def run(self, budget, most=math.inf, most_slower=0):
        """All cases, shortly and then on."""
        rounds = BudgetedRounds(
            lambda turn, case: case.function if turn < most else None, budget, len(self.cases), False, None,
            lambda: None, most_slower, random.Random(0), started=0.0,
        )  # fmt: skip
        for name in self.cases:
            rounds.measure_shortly(name, BenchmarkId("module", name, {}), Rule(), False)
        rounds.measure_on()
        return rounds


@pytest.fixture
def clock(monkeypatch):
    def make(**cases):
        made = Clock(cases)
        monkeypatch.setattr(budgeted_rounds, "time", SimpleNamespace(perf_counter=lambda: made.now))
        monkeypatch.setattr(Comparison, "measure_round", lambda *given: made.measure_round(*given))
        return made

    return make


def test_a_run_ends_when_all_is_clear(clock):
    world = clock(quick=(0.1, 0.001), slow=(2.0, 0.001))
    rounds = world.run(300.0)
    assert all(progress.is_clear for progress in rounds.progress.values())
    assert world.rounds == ["quick"] * 3 + ["slow"] * 3


def test_a_run_that_waits_for_so_many_slower_cases_ends_with_the_last_of_them(clock):
    world = clock(doubtful=(0.1, 1.0), slower=(0.1, 0.001, 0.2), faster=(0.1, 0.001, -0.2), slow=(0.1, 0.001, 0.2))
    for most_slower in (1, 2):
        rounds = world.run(300.0, most_slower=most_slower)
        assert rounds.ended_early
        assert not rounds.left
        assert rounds.progress["doubtful"].rounds == 3  # nothing more, however much of the budget is left
    assert not world.run(300.0, most_slower=3).ended_early


def test_a_run_ends_with_its_budget_and_slow_cases_are_not_starved(clock):
    world = clock(doubtful=(0.1, 1.0), slow=(5.0, 1.0), clear=(0.1, 0.001))
    rounds = world.run(100.0)
    assert 100.0 <= world.now <= 105.0
    assert world.rounds.count("slow") > 5
    assert world.rounds.count("doubtful") > 5
    assert world.rounds.count("clear") == 3
    assert not rounds.left


def test_a_first_pass_that_takes_most_of_the_budget_goes_on_with_one_round_a_case(clock):
    world = clock(a=(3.0, 1.0), b=(3.0, 1.0), c=(0.1, 1.0), d=(0.1, 1.0))
    world.run(10.0)
    assert world.rounds[:6] == ["a", "a", "a", "b", "c", "d"]


def test_a_case_ends_with_its_last_pair_of_processes(clock):
    world = clock(a=(0.1, 1.0), b=(0.1, 1.0))
    rounds = world.run(300.0, most=5)
    assert world.rounds.count("a") == world.rounds.count("b") == 5
    assert all(progress.exhausted for progress in rounds.progress.values())


def test_an_error_in_a_later_round_is_kept_and_the_others_go_on(clock):
    world = clock(a=(0.1, 1.0), b=(0.1, 0.001))
    measure, error = world.measure_round, ZeroDivisionError("planted")

    def fail(comparison, pair, *given):
        if pair == "a" and world.rounds.count("a") == 2:
            raise error
        measure(comparison, pair, *given)

    world.measure_round = fail
    rounds = world.run(300.0)
    assert rounds.failed == {"a": error}
    assert rounds.progress["b"].is_clear
    assert next_case(rounds.progress, 0) is None
