"""Two versions of a call, measured in alternation: pairs, blocks and rounds, as stats.py defines them."""

import gc
import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from ..stats.verdict import FIRST_LOOK, Rule, Trial, block_value

# A sample is at least so long: many calls where one is short. Two milliseconds on a busy CPU are nearly always cut in
# two by somebody else; beside two spinning processes on its core a block then varied a thousand times as much.
SAMPLE_SECONDS = 0.0002
DEVICE_SAMPLE_SECONDS = 0.002  # where every sample ends with waiting for a device
BLOCK_SECONDS = 0.06
BLOCK_PER_BUILD = 1.5  # how long a block is against building and warming up its objects
PAIRS = 2  # of a block, at least, while it is not over its time
WARM_UP = 2  # calls, of which the first is enough where it is long
LONG = 0.02  # seconds


class Timed(Protocol):
    """A built call that can be timed."""

    def seconds(self, calls: int) -> float:
        """How long so many calls take."""


@dataclass
class TimedCall:
    """A call of this process."""

    call: Callable[[], Any]
    clock: Callable[[], float] = time.perf_counter

    def seconds(self, calls: int) -> float:
        """How long so many calls take."""
        start = self.clock()
        for _ in range(calls):
            self.call()
        return self.clock() - start


Builder = Callable[[], Timed]
Pair = tuple[Builder, Builder]  # the old version's and the new one's


@dataclass
class Block:
    """Pairs of one build of both versions."""

    log_ratios: list[float] = field(default_factory=list)
    seconds: list[tuple[float, float]] = field(default_factory=list)  # old and new, a call


@dataclass
class Comparison:
    """What was measured of a case."""

    trial: Trial
    rounds: list[tuple[Block, Block]] = field(default_factory=list)

    @property
    def seconds(self) -> tuple[float, float]:
        """The median of a call, old and new."""
        old, new = np.median([pair for rnd in self.rounds for block in rnd for pair in block.seconds], axis=0)
        return float(old), float(new)

    @property
    def pairs(self) -> int:
        """How many were taken."""
        return sum(len(block.log_ratios) for rnd in self.rounds for block in rnd)


def compare(
    pair_of: Callable[[int], Pair | None],
    rule: Rule,
    max_time: float,
    chance: random.Random,
    isolated: bool = False,
    device: str = "cpu",
) -> Comparison:
    """Measure rounds until the verdict is clear, the time is spent and there was a first look, or no pair is left.

    `pair_of` gives the builders of a round: always the same in one process; if `isolated`, another pair of processes'.
    """
    comparison = Comparison(Trial(rule))
    sample = SAMPLE_SECONDS if device == "cpu" else DEVICE_SAMPLE_SECONDS
    spent = 0.0  # launching a pair is not measuring
    clear = False
    while not clear and (comparison.trial.waits_for_first_look or spent < max_time):
        pair = pair_of(len(comparison.rounds))
        if pair is None:
            break
        start = time.perf_counter()
        old_first, longest = chance.random() < 0.5, max_time / FIRST_LOOK
        blocks = (
            measure_block(*pair, old_first, chance, sample, longest),
            measure_block(*pair, not old_first, chance, sample, longest),
        )
        comparison.rounds.append(blocks)
        values = [block_value(block.log_ratios) for block in blocks]
        clear = comparison.trial.add([float(np.mean(values))] if isolated else values)
        spent += time.perf_counter() - start
    comparison.trial.finish()
    return comparison


def measure_block(
    old: Builder,
    new: Builder,
    old_first: bool,
    chance: random.Random,
    sample: float = SAMPLE_SECONDS,
    longest: float = math.inf,
) -> Block:
    """Build and warm up both, and take pairs in random order for half as long again as that took.

    It is longer where that is very short, and shorter where all would last longer than `longest`: a case that is slow
    to build then comes to its first look with few pairs a block, but within its time where that is possible: with one
    pair a block, where building and warming up took it all.

    Longer blocks waste less on building and are more robust, but Student's t at a suite's error asks for many numbers
    before exact ones. Replaying the pairs of recorded runs, this caught most within 20 and 30 seconds; as long as
    building, or twice, a little less; blocks that grow as a run goes on, less still.
    """
    start = time.perf_counter()
    first, second = (old, new) if old_first else (new, old)
    built = (first(), second())
    sides: Sequence[Timed] = built if old_first else built[::-1]
    gc.collect()
    collecting = gc.isenabled()
    gc.disable()
    try:
        warm = min(warm_up(side) for side in built)  # in the order of building, as that moves times as well
        calls = max(1, math.ceil(sample / max(warm, 1e-9)))
        now = time.perf_counter()
        spent = now - start
        lasts = max(BLOCK_SECONDS, min(BLOCK_PER_BUILD * spent, longest - spent))
        return take_pairs(sides, calls, now + lasts, chance, PAIRS if spent < longest else 1)
    finally:
        if collecting:
            gc.enable()


def warm_up(side: Timed) -> float:
    """Run a call until it is warm; the shortest time."""
    first = side.seconds(1)
    return first if first > LONG else min(first, *(side.seconds(1) for _ in range(WARM_UP - 1)))


def take_pairs(sides: Sequence[Timed], calls: int, end: float, chance: random.Random, least: int) -> Block:
    """Samples of both, one right after the other in random order, until a time and at least a few pairs."""
    block = Block()
    while len(block.log_ratios) < least or time.perf_counter() < end:
        taken = [0.0, 0.0]
        for index in (0, 1) if chance.random() < 0.5 else (1, 0):
            taken[index] = sides[index].seconds(calls)
        block.log_ratios.append(math.log(taken[1] / taken[0]))
        block.seconds.append((taken[0] / calls, taken[1] / calls))
    return block
