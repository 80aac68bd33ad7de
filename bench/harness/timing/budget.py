"""Which case to measure next, so that a budget of time clears as many as it can, and what a larger one would do.

After a short pass over all cases, every next round goes to the case that is expected to be clear soonest, by its mean,
its spread and what a round of it costs; every fourth goes to the one that waited longest, so that a slow case is not
starved by many that are nearly clear. Numbers in, a choice out: no clock and no case is touched here.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..quantities import duration
from ..stats.verdict import SequentialTest, quantile
from .pairing import Comparison

TURNS = 4  # of which the last goes to the case that waited longest
MOST_VALUES = 100_000  # that are looked ahead
MANY_LOOKS = 30  # what is left of the error after so many hardly changes any more
HOPELESS = 2 * 3600.0  # seconds that nobody waits for one case


@dataclass
class CaseProgress:
    """How far one case is."""

    comparison: Comparison
    is_control: bool = False  # measured to notice a disturbance, and never what a run waits for
    seconds: float = 0.0  # that its rounds took, all together
    last_turn: int = 0  # when it was measured last
    exhausted: bool = False  # there is no further round to be had

    @property
    def test(self) -> SequentialTest:
        """The test over its values."""
        return self.comparison.test

    @property
    def rounds(self) -> int:
        """How many were measured."""
        return len(self.comparison.rounds)

    @property
    def is_clear(self) -> bool:
        """Whether there is a verdict."""
        return self.test.verdict != "unclear"

    @property
    def is_over(self) -> bool:
        """Whether no further round is of use."""
        return self.is_clear or self.exhausted

    @property
    def seconds_left(self) -> float:
        """How long it is expected to take until it is clear; infinite before its first round."""
        if self.is_over:
            return 0.0
        if not self.rounds:
            return math.inf
        a_value = self.seconds / max(len(self.test.values), 1)
        return a_value * max(values_needed(self.test) - len(self.test.values), 1)


def values_needed(test: SequentialTest) -> int:
    """How many values the verdict is expected to take, if their mean and spread stay as they are."""
    values = test.values
    if len(values) < 2:
        return MOST_VALUES
    mean, spread = float(np.mean(values)), float(np.std(values, ddof=1))
    threshold = math.log1p(test.rule.slower_than)
    last = test.rule.error_left(MANY_LOOKS)
    # Half-widths of the interval that must fit: below the threshold, or beside zero; in cycles too, if slower.
    below, beside = _count(spread, threshold - mean, last * test.rule.cases), _count(spread, abs(mean), last / 2)
    if mean > 0 and len(test.cycles) == len(values):
        of_cycles = float(np.mean(test.cycles)), float(np.std(test.cycles, ddof=1))
        beside = max(beside, _count(of_cycles[1], of_cycles[0], last / 2))
    return min(below, beside)


def _count(spread: float, room: float, error: float) -> int:
    """The fewest values of which the mean is known to within `room`, of values with this spread."""
    if room <= 0:
        return MOST_VALUES
    relative_spread = spread / room
    count = max(2.0, (quantile(30, error) * relative_spread) ** 2)
    for _ in range(4):  # the quantile depends on the count
        count = max(2.0, (quantile(max(count - 1, 1), error) * relative_spread) ** 2)
    return min(math.ceil(count), MOST_VALUES)


def next_case(cases: Mapping[str, CaseProgress], turn: int) -> str | None:
    """The case to measure in a turn; None where none is left, but for controls."""
    unclear = {name: progress for name, progress in cases.items() if not progress.is_over}
    if all(progress.is_control for progress in unclear.values()):
        return None
    if turn % TURNS == TURNS - 1:
        return min(unclear, key=lambda name: unclear[name].last_turn)
    return min(unclear, key=lambda name: unclear[name].seconds_left)


def advice(unclear: Mapping[str, CaseProgress], budget: float, not_reached: int) -> list[str]:
    """What a larger budget would do for cases that a run left unclear, a sentence each."""
    left = {name: progress for name, progress in unclear.items() if not progress.exhausted}
    known = {name: progress.seconds_left for name, progress in left.items() if len(progress.test.values) > 1}
    not_reached += len(left) - len(known)
    low_clock = [name for name, progress in unclear.items() if progress.test.interval.low > 0]
    sentences = [
        f"{name} is slower in time but not in cycles: the GPU's clock was lower; lock lower clocks, and run it again."
        for name in low_clock
    ]
    hopeless = [name for name, seconds in known.items() if seconds > HOPELESS]
    for name in hopeless:
        if name in low_clock:
            continue
        scatter = np.std(unclear[name].test.values, ddof=1)
        sentences.append(f"{name} scatters by {scatter:.0%} from block to block: no budget of hours would clear it.")
    waiting = [seconds for name, seconds in known.items() if name not in hopeless]
    if not_reached:
        sentences.append(f"the budget ended before {not_reached} of the cases were measured; give a larger --budget.")
    elif waiting:
        larger = duration(1.5 * (budget + sum(waiting)))  # half as much again: the spread is known roughly
        sentences.append(f"--budget {larger} is expected to clear {len(waiting)} of what is unclear.")
    return sentences
