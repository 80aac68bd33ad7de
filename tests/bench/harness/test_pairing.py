"""Two versions are measured in alternation, balanced, and no longer than necessary; with a simulated clock."""

import gc
import math
import random
from types import SimpleNamespace

import numpy as np
import pytest

from bench.harness.stats.verdict import FIRST_LOOK, Rule, SequentialTest, block_value
from bench.harness.timing import pairing
from bench.harness.timing.pairing import (
    BLOCK_PER_BUILD,
    BLOCK_SECONDS,
    DEVICE_SAMPLE_SECONDS,
    LONG_CALL,
    PAIRS,
    SAMPLE_SECONDS,
    VERY_LONG_CALL,
    WARM_UP_CALLS,
    compare,
    measure_block,
)


class World:
    """A simulated clock, a log of builds and calls, and the seconds of a call of either version."""

    def __init__(self, base=1e-3, head=1e-3):
        self.now = 0.0
        self.cost = {"base": base, "head": head}
        self.noise = lambda: 1.0
        self.first_call = 1.0  # times as long as the others
        self.done = []  # ("build", version), or (version, calls)

    def builders(self):
        return tuple(lambda version=version: Built(self, version) for version in ("base", "head"))

    def builds(self):
        return [version for what, version in self.done if what == "build"]

    def blocks(self):
        """The timed samples of each block, which begins with two builds."""
        blocks = []
        for index, (what, rest) in enumerate(self.done):
            if what == "build":
                if self.done[index - 1][0] != "build" or not blocks:
                    blocks.append([])
            else:
                blocks[-1].append((what, rest))
        return blocks


class Built:
    def __init__(self, world, version):
        self.world, self.version, self.called = world, version, False
        world.done.append(("build", version))

    def seconds(self, calls):
        world = self.world
        world.done.append((self.version, calls))
        taken = calls * world.cost[self.version] * world.noise() * (1.0 if self.called else world.first_call)
        self.called = True
        world.now += taken
        return taken


@pytest.fixture
def world(monkeypatch):
    made = World()
    monkeypatch.setattr(pairing, "time", SimpleNamespace(perf_counter=lambda: made.now))
    gc.freeze()  # or every block searches all that the tests have made
    yield made
    gc.unfreeze()


def rounds_of(world, count, seed=0, **changed):
    pairs = iter([world.builders()] * count)
    test = SequentialTest(changed.pop("rule", Rule(1e-6, 1e-6)))
    settings = {"test": test, "max_time": 1e9, "rng": random.Random(seed)} | changed
    return compare(lambda _: next(pairs, None), **settings)


def noisy(world, spread, seed=1):
    rng = random.Random(seed)
    world.noise = lambda: rng.uniform(1 - spread, 1 + spread)


def test_each_version_is_built_first_once_a_round_in_random_order(world):
    noisy(world, 0.5)
    rounds_of(world, 40)
    builds = world.builds()
    assert len(builds) == 40 * 4
    rounds = [tuple(builds[at : at + 4]) for at in range(0, len(builds), 4)]
    base_first, head_first = ("base", "head", "head", "base"), ("head", "base", "base", "head")
    assert set(rounds) == {base_first, head_first}
    assert 10 <= rounds.count(base_first) <= 30  # of 40; less than one seed in a thousand falls outside


def test_pairs_hold_one_sample_of_each_version_in_random_order(world):
    noisy(world, 0.5)
    rounds_of(world, 10)
    orders = []
    for block in world.blocks():
        samples = [version for version, _ in block[2 * WARM_UP_CALLS :]]
        assert len(samples) >= 2 * PAIRS
        orders += list(zip(samples[::2], samples[1::2], strict=True))
    assert set(orders) == {("base", "head"), ("head", "base")}
    assert 0.35 < orders.count(("base", "head")) / len(orders) < 0.65


def test_the_order_depends_on_the_random_generator_alone(world):
    noisy(world, 0.5)
    rounds_of(world, 6, seed=3)
    first = world.builds()
    world.done.clear()
    noisy(world, 0.5)
    rounds_of(world, 6, seed=3)
    assert world.builds() == first


def test_a_slow_first_call_is_warm_up(world):
    world.first_call = 15.0
    world.cost["head"] = 2e-3
    block = measure_block(*world.builders(), True, random.Random(0))
    assert block.log_ratios == pytest.approx([0.6931471805599453] * len(block.log_ratios))
    assert block.seconds[0] == pytest.approx((1e-3, 2e-3))
    timed = world.blocks()[0]
    assert timed[: 2 * WARM_UP_CALLS] == [("base", 1)] * WARM_UP_CALLS + [("head", 1)] * WARM_UP_CALLS
    assert {calls for _, calls in timed[2 * WARM_UP_CALLS :]} == {1}


@pytest.mark.parametrize(
    ("base", "head", "calls"),
    [(1e-5, 1e-5, 20), (1e-5, 1e-2, 20), (1e-2, 1e-5, 20), (0.00015, 0.00015, 2), (0.5, 0.5, 1), (1e-15, 1.0, 200_000)],
)
def test_a_sample_is_as_many_calls_as_make_it_long_enough_by_the_faster_version(world, base, head, calls):
    world.cost |= {"base": base, "head": head}
    measure_block(*world.builders(), True, random.Random(0))
    assert {taken for _, taken in world.blocks()[0][2 * WARM_UP_CALLS :]} == {calls}


@pytest.mark.parametrize("cost", [1e-5, 1e-3, 1e-2, 1.0])
def test_a_block_lasts_as_long_as_it_should_and_has_pairs_enough(world, cost):
    world.cost |= {"base": cost, "head": cost}
    block = measure_block(*world.builders(), False, random.Random(0))
    pair = 2 * cost * max(1, round(SAMPLE_SECONDS / cost))
    warming = 2 * cost * (1 if cost > LONG_CALL else WARM_UP_CALLS)
    lasts = max(BLOCK_SECONDS, BLOCK_PER_BUILD * warming)
    assert len(block.log_ratios) == len(block.seconds) == pytest.approx(max(PAIRS, lasts / pair), abs=1)


def test_a_long_call_is_warmed_up_once(world):
    world.cost |= {"base": 2 * LONG_CALL, "head": 1e-3}
    measure_block(*world.builders(), True, random.Random(0))
    assert world.blocks()[0][: 1 + WARM_UP_CALLS] == [("base", 1)] + [("head", 1)] * WARM_UP_CALLS


@pytest.mark.parametrize(
    ("cost", "first_call", "warm_ups"),
    [
        (2 * VERY_LONG_CALL, 1.02, 0),
        (2 * VERY_LONG_CALL, 1.3, 2),  # it allocates, or compiles
        (VERY_LONG_CALL / 2, 1.02, 2),
    ],
    ids=["first calls are like others", "first calls take longer", "calls are short"],
)
def test_very_long_calls_are_not_warmed_up_for_nothing(world, cost, first_call, warm_ups):
    world.first_call = first_call
    world.cost = {"base": cost, "head": 1.5 * cost}
    found = rounds_of(world, 3)
    blocks = world.blocks()
    pairs = [len(block.log_ratios) for rounds in found.rounds for block in rounds]
    assert [len(block) - 2 * count for block, count in zip(blocks, pairs, strict=True)] == [2, 2] + 4 * [warm_ups]
    assert {version for block in blocks[2:] for version, _ in block[:2]} == {"base", "head"}


def test_samples_on_a_device_are_longer(world):
    world.cost |= {"base": 1e-4, "head": 1e-4}
    measure_block(*world.builders(), True, random.Random(0), DEVICE_SAMPLE_SECONDS)
    assert {taken for _, taken in world.blocks()[0][2 * WARM_UP_CALLS :]} == {20}


@pytest.mark.parametrize(("longest", "seconds"), [(math.inf, 1.5), (2.0, 1.0), (0.5, BLOCK_SECONDS)])
def test_a_block_lasts_in_proportion_to_its_building_and_no_longer_than_it_may(world, longest, seconds):
    build = Built.__init__

    def slow_to_build(built, *arguments):
        build(built, *arguments)
        world.now += 0.5

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Built, "__init__", slow_to_build)
        block = measure_block(*world.builders(), True, random.Random(0), longest=longest)
    assert len(block.log_ratios) == pytest.approx(seconds / 0.002, abs=9)


@pytest.mark.parametrize(("cost", "pairs"), [(1.0, 1), (0.4, PAIRS)])
def test_a_block_whose_time_is_used_up_by_warming_up_takes_one_pair(world, cost, pairs):
    world.cost |= {"base": cost, "head": cost}
    block = measure_block(*world.builders(), True, random.Random(0), longest=1.0)
    assert len(block.log_ratios) == len(block.seconds) == pairs


def test_the_order_of_building_does_not_swap_the_versions(world):
    world.cost["head"] = 3e-3
    for base_first in (True, False):
        block = measure_block(*world.builders(), base_first, random.Random(0))
        assert min(block.log_ratios) > 1.0
        assert block.seconds[0] == pytest.approx((1e-3, 3e-3))


def test_a_clear_case_ends_at_the_first_look(world):
    noisy(world, 0.001)
    found = rounds_of(world, 100, rule=Rule(0.03))
    assert (found.test.verdict, len(found.rounds)) == ("same", FIRST_LOOK // 2)
    world.cost["head"] *= 1.5
    found = rounds_of(world, 100, rule=Rule(0.03))
    assert (found.test.verdict, len(found.rounds)) == ("slower", FIRST_LOOK // 2)
    assert found.seconds == pytest.approx((1e-3, 1.5e-3), rel=0.01)
    assert math.log(found.seconds[1] / found.seconds[0]) == pytest.approx(found.test.interval.estimate)
    assert found.test.interval.low < 0.4054651081081644 < found.test.interval.high
    assert found.pairs == sum(len(block.log_ratios) for rnd in found.rounds for block in rnd)


def test_an_unclear_case_ends_when_its_time_is_used_up(world):
    noisy(world, 0.5)
    found = rounds_of(world, 1000, max_time=3.0)
    assert found.test.verdict == "unclear"
    a_round = world.now / len(found.rounds)
    assert 3.0 <= world.now <= 3.0 + 2 * a_round
    assert found.test.interval.high < 1.0  # it was looked at after the last round


@pytest.mark.parametrize(("isolated", "rounds"), [(False, FIRST_LOOK // 2), (True, FIRST_LOOK)])
@pytest.mark.parametrize("max_time", [0.0, -1.0, 1e-9])
def test_there_is_a_first_look_however_little_time_there_is(world, max_time, isolated, rounds):
    noisy(world, 0.5)
    found = rounds_of(world, 100, max_time=max_time, isolated=isolated)
    assert len(found.rounds) == rounds
    assert found.test.interval.high < float("inf")


def test_a_round_is_two_values_or_their_mean_if_isolated(world):
    noisy(world, 0.5)
    here = rounds_of(world, 5)
    blocks = [block_value(block.log_ratios) for rnd in here.rounds for block in rnd]
    assert here.test.values == pytest.approx(blocks)
    launched = rounds_of(world, 5, isolated=True)
    means = [np.mean([block_value(block.log_ratios) for block in rnd]) for rnd in launched.rounds]
    assert launched.test.values == pytest.approx(means)


def test_launching_processes_does_not_use_up_time(world):
    noisy(world, 0.5)

    def launched(index):
        world.now += 100.0
        return world.builders()

    found = compare(launched, SequentialTest(Rule(1e-6, 1e-6)), 3.0, random.Random(0))
    assert len(found.rounds) > 10


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7])
def test_measuring_ends_with_the_last_pair(world, count):
    noisy(world, 0.5)
    found = rounds_of(world, count, isolated=True)
    assert len(found.rounds) == count
    assert found.test.verdict == "unclear"
    assert (found.test.interval.high < float("inf")) == (count > 1)


def test_every_round_has_a_pair_of_its_own(world):
    noisy(world, 0.5)
    asked = []

    def pair_of(index):
        asked.append(index)
        return world.builders() if index < 6 else None

    compare(pair_of, SequentialTest(Rule(1e-6, 1e-6)), 1e9, random.Random(0))
    assert asked == [0, 1, 2, 3, 4, 5, 6]


def test_garbage_is_collected_before_a_block_and_not_within(world):
    collecting = []
    world.noise = lambda: collecting.append(gc.isenabled()) or 1.0
    measure_block(*world.builders(), True, random.Random(0))
    assert set(collecting) == {False}
    assert gc.isenabled()


@pytest.mark.parametrize("on", [True, False])
def test_garbage_collection_is_as_it_was_after_an_error(world, on):
    def fail():
        raise ZeroDivisionError

    world.noise = fail
    before = gc.isenabled()
    (gc.enable if on else gc.disable)()
    try:
        with pytest.raises(ZeroDivisionError):
            measure_block(*world.builders(), True, random.Random(0))
        assert gc.isenabled() == on
    finally:
        (gc.enable if before else gc.disable)()
