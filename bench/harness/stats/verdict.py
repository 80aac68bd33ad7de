"""Slower, faster, same or unclear: how a verdict on two versions of a case is reached, and how often it may be wrong.

Samples. A *pair* is one sample of each version, one directly after the other in random order, or both at the same time
on one core where a call is long (`timing/forked_call.py`); its value is log(head time / base time). Disturbances that
last longer than a pair (another process, heat, a frequency governor) affect both versions alike. A *block* is a few
pairs on freshly built objects; its value is the Hodges-Lehmann estimate of the pairs' median (Hodges and Lehmann 1963:
nearly as efficient as the mean for normal noise, and robust against up to 29 % outliers). An object's place in memory
changes its times by one to three percent for as long as it lives, and the object built second lies elsewhere than the
first (Mytkowicz et al. 2009, "Producing wrong data without doing anything obviously wrong"; Curtsinger and Berger 2013,
"Stabilizer"). A *round* is therefore two blocks: one with base built first and one with head built first, in random
order. For unchanged code the labels of a block are exchangeable, so that its value is symmetric about zero whatever the
noise is, including drift and bursts: the interval is computed over blocks. The effect of the building order cancels in
a round's mean and remains in the spread, which widens the interval. With `--isolate`, launches of a process differ from
each other by some percent, so that the two blocks of one pair of processes are averaged into one value (Kalibera and
Jones 2013, "Rigorous benchmarking in reasonable time": repeat at the level that varies).

Interval. Student's t over the block values. It is conservative for symmetric distributions with heavier tails than the
normal's (Benjamini 1983, "Is the t test really conservative when the parent distribution is long-tailed?"); for lighter
tails, such as builds that land in one of two places in memory without other noise, it is slightly too narrow while
there are few values.

Stopping. The interval is examined after 6 values, and again whenever their number has grown by 30 %, until the verdict
is clear or the time is used up. To keep the overall error rate over these looks, each gets a part of the case's error
(alpha spending: Lan and DeMets 1983, "Discrete sequential boundaries for clinical trials"; with the Bonferroni bound,
which holds for any dependence between looks). Look k = 0, 1, 2, ... gets 0.25 x 0.7^k of it, five sixths in total, and
the last look gets the rest: most cases are clear at one of the first looks (with 0.1 in place of 0.25, unchanged code
whose blocks scatter by 1.5 or 2 % takes a sixth more of them in simulation). Each of n cases gets 1/n of the run's
error: with `--error-rate 1%`, all intervals of all cases at all looks cover the true change in 99 of 100 runs.

Verdict. `--slower-than 3%` is the smallest change that matters, t:

  same     the interval lies inside (-t, +t): a change that matters is ruled out.
  slower   the interval lies above zero and reaches t: it is slower, and a slowdown that matters is not ruled out.
  faster   the interval lies below zero and reaches -t.
  unclear  none of these: more samples are needed. Never the same as "same".

This combines a test of equivalence and one of difference, and stops at whichever is decided first (Schuirmann 1987, "A
comparison of the two one-sided tests procedure"). A slowdown of t or more is "same" only with the error rate's
probability, and it is "slower" as soon as the interval excludes zero, long before it could be distinguished from a
slightly smaller one. A slowdown between zero and t is "same" where the noise is low enough to show that it is below t;
as an interval narrows, it excludes zero before it fits below t if the change exceeds t/2. A false "slower" therefore
takes an estimate that is wrong by t/2, besides an interval that misses.

How often this procedure is wrong in simulation: tests/bench/harness/test_error_rates.py. The gate samples and looks as
described here, and passes a case by less: `gate_verdict.py`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.special import stdtrit  # Student's t alone: scipy.stats takes a second to import

FIRST_LOOK = 6  # values
GROWTH = 1.3  # of their number from one look to the next
FIRST_LOOK_ERROR = 0.25  # fraction of a case's error
ERROR_DECAY = 0.7  # from one look to the next
VERDICTS = ("slower", "unclear", "faster", "same")  # the worst first


@dataclass(frozen=True)
class Interval:
    """A confidence interval of log(head time / base time)."""

    estimate: float
    low: float
    high: float

    def widened(self, by: float) -> "Interval":
        """The interval with both ends moved outwards."""
        return Interval(self.estimate, self.low - by, self.high + by)


@dataclass(frozen=True)
class Rule:
    """Which change matters, and how often a whole run may be wrong."""

    slower_than: float = 0.03  # relative
    error_rate: float = 0.01  # of a run, over all cases and looks
    cases: int = 1

    def verdict(self, interval: Interval) -> str:
        """One of VERDICTS."""
        threshold = math.log1p(self.slower_than)
        if -threshold < interval.low and interval.high < threshold:
            return "same"
        if interval.low > 0:
            return "slower"
        if interval.high < 0:
            return "faster"
        return "unclear"

    def error_at(self, look: int) -> float:
        """The error probability of one case at one look, from 0, that is not the last."""
        return self.error_rate / self.cases * FIRST_LOOK_ERROR * ERROR_DECAY**look

    def error_left(self, looks: int) -> float:
        """The error probability of one case that is left for the last look after so many others."""
        return self.error_rate / self.cases - sum(map(self.error_at, range(looks)))


class SequentialTest:
    """The verdict on one case as its block values arrive."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.values: list[float] = []
        self.cycles: list[float] = []  # the same of a GPU's cycles, of as many values if its clock was always read
        self.interval = interval_of([], 1.0)
        self.looks, self._next_look = 0, FIRST_LOOK

    @property
    def verdict(self) -> str:
        """The verdict at the last look."""
        return self.rule.verdict(self.interval)

    @property
    def waits_for_first_look(self) -> bool:
        """Whether there are still too few values for any verdict."""
        return len(self.values) < FIRST_LOOK

    def add(self, values: Sequence[float], cycles: Sequence[float] = ()) -> bool:
        """Add a round's values and look if one is due; return whether the verdict is clear."""
        self.values.extend(values)
        self.cycles.extend(cycles)
        if len(self.values) >= self._next_look:
            self._look(self.rule.error_at(self.looks))
        return self.verdict != "unclear"

    def finish(self) -> str:
        """Return the verdict after the last round, with one last look where it is unclear."""
        if self.verdict == "unclear" and len(self.values) > 1:
            self._look(self.rule.error_left(self.looks))
        return self.verdict

    def _look(self, error: float) -> None:
        self.interval = interval_of(self.values, error)
        self.looks, self._next_look = self.looks + 1, next_look(len(self.values))


def next_look(count: int) -> int:
    """The number of values at which the next look is due, after a look at `count` of them."""
    return max(FIRST_LOOK, count + 1, math.floor(count * GROWTH))


def quantile(freedom: float, error: float) -> float:
    """What Student's t with these degrees of freedom exceeds with probability `error`."""
    return -float(stdtrit(freedom, error))


def interval_of(values: Sequence[float], error: float) -> Interval:
    """Student's t interval that misses with probability `error`; infinite where there are fewer than two values."""
    mean = float(np.mean(values)) if len(values) else 0.0
    if len(values) < 2:
        return Interval(mean, -math.inf, math.inf)
    half = quantile(len(values) - 1, error / 2) * float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return Interval(mean, mean - half, mean + half)


def block_values(log_ratios: Float[np.ndarray, "*blocks pairs"]) -> Float[np.ndarray, "*blocks"]:
    """Hodges and Lehmann's estimate of each block: the median of the means of any two pairs, a pair and itself too."""
    first, second = np.triu_indices(log_ratios.shape[-1])
    return np.median((log_ratios[..., first] + log_ratios[..., second]) / 2, axis=-1)


def block_value(log_ratios: Sequence[float]) -> float:
    """The same of one block."""
    return float(block_values(np.asarray(log_ratios)))
