"""Measure two versions of a call against each other: pairs, blocks and rounds, as stats/verdict.py defines them."""

import gc
import math
import operator
import random
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from ..stats.verdict import FIRST_LOOK, SequentialTest, block_value
from . import forked_call
from .clock import Clock, ThreadReading
from .forked_call import Builder, ForkedCall, Timed, can_fork, forked
from .gpu_clock import GpuClock

# The shortest sample: many calls where one is short. On a busy CPU a sample of two milliseconds is nearly always
# preempted; beside two spinning processes on its core a block then varied a thousand times as much.
SAMPLE_SECONDS = 0.0002
DEVICE_SAMPLE_SECONDS = 0.002  # where every sample ends with a synchronization
BLOCK_SECONDS = 0.06  # the shortest block
BLOCK_PER_BUILD = 1.5  # a block's length over the time to build and warm up its objects
PAIRS = 2  # of a block, at least, while it is within its time
WARM_UP_CALLS = 2
LONG_CALL = 0.02  # seconds; one such call is enough to warm up, and as long as the turns that two processes take
VERY_LONG_CALL = 0.25  # seconds; such a call needs no warming up where fresh objects' first one takes no longer
NO_LONGER = 1.1  # times as long, at most


@dataclass
class TimedCall:
    """A call of this process."""

    call: Callable[[], Any]
    clock: Clock = time.perf_counter

    def seconds(self, calls: int) -> float:
        """Seconds that so many calls take together."""
        start = self.clock()
        for _ in range(calls):
            self.call()
        return float(self.clock() - start)


Pair = tuple[Builder, Builder]  # base and head


@dataclass
class TimedBlock:
    """The pairs of one build of both versions."""

    log_ratios: list[float] = field(default_factory=list)
    seconds: list[tuple[float, float]] = field(default_factory=list)  # of a call, base and head
    clock_ratios: list[float] = field(default_factory=list)  # log(head / base) of a GPU's clock, where it was read
    start_warm: bool = False  # the first calls were very long, and took no longer than the others

    @property
    def cycles(self) -> float | None:
        """The block's value of log(head cycles / base cycles); None where a clock was not read."""
        if len(self.clock_ratios) < len(self.log_ratios):
            return None
        return block_value([*map(operator.add, self.log_ratios, self.clock_ratios)])


@dataclass
class Comparison:
    """The measurements of one case and the test over them."""

    test: SequentialTest
    in_forks: bool = False  # both versions run at the same time (`forked_call.py`)
    rounds: list[tuple[TimedBlock, TimedBlock]] = field(default_factory=list)

    @property
    def seconds(self) -> tuple[float, float]:
        """A typical time of a call of the base; and of the head, which is that times the ratio that the test found.

        Two medians would not show that ratio: where times have two levels, theirs may be another altogether.
        """
        base = typical_time([[of_base for of_base, _ in block.seconds] for rnd in self.rounds for block in rnd])
        return base, base * math.exp(self.test.interval.estimate)

    @property
    def pairs(self) -> int:
        """The number of pairs taken."""
        return sum(len(block.log_ratios) for rnd in self.rounds for block in rnd)

    def measure_round(
        self, pair: Pair, rng: random.Random, longest: float, isolated: bool = False, gpu: GpuClock | None = None
    ) -> bool:
        """Measure two blocks, of at most `longest` seconds each where that is possible; whether the verdict is clear.

        If `isolated`, the blocks are of one pair of processes, and count as one value.
        """
        sample = SAMPLE_SECONDS if gpu is None else DEVICE_SAMPLE_SECONDS
        sample = forked_call.SAMPLE_SECONDS if self.in_forks else sample
        base_first = rng.random() < 0.5
        start_warm = bool(self.rounds) and all(block.start_warm for block in self.rounds[0])
        with forked(*pair) if self.in_forks else nullcontext(lambda base_first: pair) as builders:
            first = measure_block(*builders(base_first), base_first, rng, sample, longest, gpu, start_warm)
            start_warm |= self.in_forks and first.start_warm
            second = measure_block(*builders(not base_first), not base_first, rng, sample, longest, gpu, start_warm)
        blocks = first, second
        self.rounds.append(blocks)
        values = [block_value(block.log_ratios) for block in blocks]
        cycles = [each for block in blocks if (each := block.cycles) is not None]
        if isolated:
            values, cycles = ([float(np.mean(each))] if len(each) == len(blocks) else [] for each in (values, cycles))
        return self.test.add(values, cycles)


def gains_by_forks(timed: Timed, device: torch.device) -> bool:
    """Whether a call is long, and never waits, so that its time is CPU time; it is called once or twice."""
    if not isinstance(timed, TimedCall) or not can_fork(device):
        return False
    for _ in range(2):  # the first one may load what it needs
        before = timed.clock()
        timed.call()
        after = timed.clock()
        if not isinstance(after, ThreadReading) or after - before < LONG_CALL:
            return False
        if after.waits == before.waits:
            return True
    return False


def typical_time(groups: Iterable[Sequence[float] | np.ndarray]) -> float:
    """The geometric mean of the medians of groups of times."""
    return math.exp(float(np.mean([math.log(np.median(group)) for group in groups])))


def compare(
    pair_of: Callable[[int], Pair | None],
    test: SequentialTest,
    max_time: float,
    rng: random.Random,
    isolated: bool = False,
    gpu: GpuClock | None = None,
    in_forks: bool = False,
) -> Comparison:
    """Measure rounds until the verdict is clear, the time is used up after the first look, or no pair is left.

    `pair_of` returns the builders of a round from its number, or None after the last: always the same two in one
    process; if `isolated`, those of another pair of processes each time. `max_time` is in seconds and excludes
    `pair_of`, which may launch processes.
    """
    comparison = Comparison(test, in_forks)
    elapsed, clear = 0.0, False
    while not clear and (comparison.test.waits_for_first_look or elapsed < max_time):
        pair = pair_of(len(comparison.rounds))
        if pair is None:
            break
        start = time.perf_counter()
        clear = comparison.measure_round(pair, rng, max_time / FIRST_LOOK, isolated, gpu)
        elapsed += time.perf_counter() - start
    comparison.test.finish()
    return comparison


def measure_block(
    base: Builder,
    head: Builder,
    base_first: bool,
    rng: random.Random,
    sample: float = SAMPLE_SECONDS,
    longest: float = math.inf,
    gpu: GpuClock | None = None,
    start_warm: bool = False,
) -> TimedBlock:
    """Build and warm up both versions, then take pairs for BLOCK_PER_BUILD times as long as that took.

    The block is longer where that is very short, and shorter where the whole would take more than `longest` seconds: a
    case that is slow to build then reaches its first look with few pairs a block, but within its time where that is
    possible; with one pair a block where building and warming up took all of it. Where calls `start_warm`, as those of
    the case's first round did, the first ones are samples: both versions have one, in random order.

    Longer blocks spend a smaller fraction on building and are more robust, but at a suite's error rate Student's t
    gains more from many values than from exact ones. Of blocks as long as building, 1.5 and 2 times as long, and
    growing during a run, 1.5 detected the most changes within 20 and 30 seconds when recorded pairs were replayed.
    """
    if gpu is not None:
        gpu.pause_if_slowed()
    start = time.perf_counter()
    builders = (base, head) if base_first else (head, base)
    built = (builders[0](), builders[1]())
    versions: Sequence[Timed] = built if base_first else built[::-1]
    gc.collect()
    collecting = gc.isenabled()
    gc.disable()
    try:
        firsts = [VERY_LONG_CALL if start_warm else warm_up(version) for version in built]  # in the order of building
        calls = max(1, math.ceil(sample / max(min(firsts), 1e-9)))
        now = time.perf_counter()
        elapsed = now - start
        length = max(BLOCK_SECONDS, min(BLOCK_PER_BUILD * elapsed, longest - elapsed))
        in_forks = all(isinstance(version, ForkedCall) for version in versions)
        few = elapsed > longest or (in_forks and min(firsts) >= VERY_LONG_CALL)
        block = take_pairs(versions, calls, now + length, rng, 1 if few else PAIRS, gpu)
        least = (min(each) for each in zip(*block.seconds, strict=True))  # of base, and of head
        of_versions = zip(firsts if base_first else firsts[::-1], least, strict=True)
        block.start_warm = start_warm or all(VERY_LONG_CALL < first < NO_LONGER * later for first, later in of_versions)
        return block
    finally:
        if collecting:
            gc.enable()


def warm_up(version: Timed) -> float:
    """Call a version until it is warm; return the shortest time of a call."""
    first = version.seconds(1)
    return first if first > LONG_CALL else min(first, *(version.seconds(1) for _ in range(WARM_UP_CALLS - 1)))


def take_pairs(
    versions: Sequence[Timed], calls: int, end: float, rng: random.Random, least: int, gpu: GpuClock | None
) -> TimedBlock:
    """Sample both versions, one directly after the other in random order, until `end` and at least `least` times.

    Those that are in forks are begun in random order, and run at the same time.
    """
    block = TimedBlock()
    while len(block.log_ratios) < least or time.perf_counter() < end:
        seconds, clocks = [0.0, 0.0], [0.0, 0.0]
        order = (0, 1) if rng.random() < 0.5 else (1, 0)
        begun = [version for index in order if isinstance(version := versions[index], ForkedCall)]
        for version in begun:
            version.begin(calls)
        for index in order:
            version = versions[index]
            seconds[index] = version.end() if isinstance(version, ForkedCall) else version.seconds(calls)
            clocks[index] = (gpu and gpu.megahertz()) or 0.0
        if all(clocks):
            block.clock_ratios.append(math.log(clocks[1] / clocks[0]))
        block.log_ratios.append(math.log(seconds[1] / seconds[0]))
        block.seconds.append((seconds[0] / calls, seconds[1] / calls))
    return block
