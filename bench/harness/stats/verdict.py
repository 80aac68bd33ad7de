"""Faster, slower, same or unclear: the verdict over two versions of a case, and how often it is wrong.

What is measured. A *pair* is one sample of each version, taken one right after the other in random order; its number is
the logarithm of the new time over the old. What disturbs a machine for longer than a pair (another process, heat, a
governor) meets both versions alike. A *block* is a few pairs of freshly built objects, and its number is the median of
the means of any two of its pairs (Hodges and Lehmann 1963: hardly less exact than the mean where noise is even, and up
to three in ten pairs may be spoilt). Where an object lies in memory moves its times by one
to three percent for as long as it lives, and the object built second lies elsewhere than the first (Mytkowicz et al.
2009, "Producing wrong data without doing anything obviously wrong"; Curtsinger and Berger 2013, "Stabilizer"). So two
blocks make a *round*: one with the old version built first, one with the new, in random order. With unchanged code the
two labels could be swapped in any block, so its number is as likely positive as negative, whatever the noise is,
drifting or in bursts: blocks are what the interval is computed over. What building first or second does cancels in
their mean and stays in their spread, which makes the interval wider, never narrower. With `--isolate` one launch of a
process differs from the next by some percent, so that the blocks of a pair of processes are one number, their mean, and
a round is a pair launched for it (Kalibera and Jones 2013, "Rigorous benchmarking in reasonable time": repeat at the
level that varies).

The interval is Student's t over these numbers. For symmetric numbers with heavier tails than the normal's it is too
wide, never too narrow (Benjamini 1983, "Is the t test really conservative when the parent distribution is
long-tailed?"); for lighter ones, such as builds that land in one of two places and nothing else, it is a little too
narrow while they are few. It is looked at after 6 numbers, and again whenever there are three tenths more, until the
verdict is clear or the time is over.
Looking often would find something by chance. So look k = 0, 1, 2, ... may only be wrong with a share 0.1 x 0.7^k of the
case's probability, which sums to a third of it, and the last look, after which there is none whatever it says, with all
that is left (error spending: Lan and DeMets 1983, "Discrete sequential boundaries for clinical trials"; here as a sum,
which holds however the looks hang together). A case of n has an n-th of the suite's. With `--error-rate 1%`, then, all
intervals of all cases at all looks hold together in 99 of 100 runs.

The verdict. `--slower-than 3%` is the smallest change that matters, t:

  same     the interval lies inside (-t, +t): a change that matters is ruled out.
  slower   the interval lies above zero, and reaches t: it is slower, and a slowdown that matters is not ruled out.
  faster   the same below zero.
  unclear  neither: more samples would tell. Never the same as "same".

These are a test of equivalence and one of difference, whichever speaks first (Schuirmann 1987). A slowdown of t or more
is never "same", except with the error rate, and it is "slower" as soon as the interval leaves zero, long before it
could tell t from a bit less. One between zero and t is "same" where the machine is calm enough to show that it is less
than t; as an interval narrows from wide, it leaves zero before it fits under t if the change is over t/2. So a false
"slower" takes an estimate that is wrong by t/2, on top of an interval that misses.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.special import stdtrit  # Student's t alone: scipy.stats takes a second to import

FIRST_LOOK = 6  # blocks
GROWTH = 1.3
SPENT_AT_FIRST = 0.1  # of a case's error
SPENT_LATER = 0.7  # of what the look before spent
VERDICTS = ("slower", "unclear", "faster", "same")  # the worst first


@dataclass(frozen=True)
class Interval:
    """A logarithm of new time over old, and where it lies."""

    middle: float
    low: float
    high: float

    def widened(self, by: float) -> "Interval":
        """The same with so much more on either side."""
        return Interval(self.middle, self.low - by, self.high + by)


@dataclass(frozen=True)
class Rule:
    """What counts as a change, and how often the whole suite may be wrong about one."""

    slower_than: float = 0.03  # relative
    error_rate: float = 0.01  # of the run, over all cases and looks
    cases: int = 1

    def verdict(self, interval: Interval) -> str:
        """One of four words."""
        matters = math.log1p(self.slower_than)
        if -matters < interval.low and interval.high < matters:
            return "same"
        if interval.low > 0:
            return "slower"
        if interval.high < 0:
            return "faster"
        return "unclear"

    def error_at(self, look: int) -> float:
        """The probability with which one case's interval may miss at one look but the last."""
        return self.error_rate / self.cases * SPENT_AT_FIRST * SPENT_LATER**look

    def error_left(self, looks: int) -> float:
        """And at the last, after so many."""
        return self.error_rate / self.cases - sum(map(self.error_at, range(looks)))


def next_look(count: int) -> int:
    """After how many numbers to look again."""
    return max(FIRST_LOOK, count + 1, math.floor(count * GROWTH))


def block_values(log_ratios: Float[np.ndarray, "*blocks pairs"]) -> Float[np.ndarray, "*blocks"]:
    """The numbers of blocks: Hodges and Lehmann's estimate."""
    first, second = np.triu_indices(log_ratios.shape[-1])
    return np.median((log_ratios[..., first] + log_ratios[..., second]) / 2, axis=-1)


def block_value(log_ratios: Sequence[float]) -> float:
    """A block's number."""
    return float(block_values(np.asarray(log_ratios)))


def interval_of(values: Sequence[float], error: float) -> Interval:
    """Student's interval, which misses with probability `error`; everything where there are not two numbers."""
    middle = float(np.mean(values)) if len(values) else 0.0
    if len(values) < 2:
        return Interval(middle, -math.inf, math.inf)
    half = -float(stdtrit(len(values) - 1, error / 2) * np.std(values, ddof=1) / math.sqrt(len(values)))
    return Interval(middle, middle - half, middle + half)


class Trial:
    """The numbers of one case, and what they say so far."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.values: list[float] = []
        self.interval = interval_of([], 1.0)
        self._looks, self._next = 0, FIRST_LOOK

    @property
    def verdict(self) -> str:
        """What the last look said."""
        return self.rule.verdict(self.interval)

    @property
    def waits_for_first_look(self) -> bool:
        """Whether there are too few numbers to say anything."""
        return len(self.values) < FIRST_LOOK

    def add(self, values: Sequence[float]) -> bool:
        """Take a round's numbers; look if it is time to. Whether the verdict is clear."""
        self.values.extend(values)
        if len(self.values) >= self._next:
            self._look(self.rule.error_at(self._looks))
        return self.verdict != "unclear"

    def finish(self) -> str:
        """The verdict after the last round: one that is not clear is looked at once more, for the last time."""
        if self.verdict == "unclear" and len(self.values) > 1:
            self._look(self.rule.error_left(self._looks))
        return self.verdict

    def _look(self, error: float) -> None:
        self.interval = interval_of(self.values, error)
        self._looks, self._next = self._looks + 1, next_look(len(self.values))


def verdict_of_suite(verdicts: Iterable[str]) -> str:
    """The worst of the cases' words."""
    return min(verdicts, key=VERDICTS.index, default="unclear")
