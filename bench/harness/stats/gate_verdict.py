"""The gate's verdict on a case: slower, or a slowdown that matters is ruled out.

Exit 0 claims of every case that it is not slower by t (`--slower-than`) or more. That claim is false if it is false of
one case, so each case may be tested at the full error rate, however many there are: it is an intersection-union test
(Berger 1982, "Multiparameter hypothesis testing and acceptance sampling"; Berger and Hsu 1996, section 2). Only calling
a case *slower* or *faster* is a claim that any of n cases can make falsely, so it keeps the family-wise rate, an n-th
of it each (`verdict.py`, whose samples, blocks, looks and spending of the error hold here too).

  slower     the two-sided interval at the family-wise rate lies above zero, and the case does not pass. On a GPU whose
             clock was read, so does the interval of cycles (`timing/gpu_clock.py`): two claims instead of one, so that
             it is made falsely no more often.
  faster     that interval lies below zero.
  passes     the one-sided upper bound at the error rate lies below t: a slowdown of t or more is ruled out. It may be
             slower by less, or faster.
  unclear    none of these: more samples are needed. Never a pass.
  untouched  not measured: nothing that it runs differs between the versions (`untouched`).

What may go wrong, each with at most the error rate: a run passes although one of its cases is slower by t or more; a
run calls any case slower or faster that is neither.
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np

from .verdict import Interval, Rule, SequentialTest, interval_of, quantile

GATE_VERDICTS = ("slower", "unclear", "faster", "passes", "untouched")  # the worst first


class GateTest(SequentialTest):
    """The verdict on one case as its block values arrive."""

    upper_bound = math.inf  # of log(head time / base time), one-sided, at the error rate
    cycles_interval: Interval | None = None  # of log(head cycles / base cycles), where they are known

    @property
    def verdict(self) -> str:
        """One of GATE_VERDICTS, as of the last look."""
        return gate_verdict(self.interval, self.upper_bound, self.rule, self.cycles_interval)

    def _look(self, error: float) -> None:
        super()._look(error)
        self.upper_bound = upper_bound(self.values, error * self.rule.cases)
        known = len(self.cycles) == len(self.values)
        self.cycles_interval = interval_of(self.cycles, error) if known else None


def gate_verdict(interval: Interval, upper_bound: float, rule: Rule, cycles: Interval | None = None) -> str:
    """One of GATE_VERDICTS, from the two-sided interval at the family-wise rate and the one-sided bound of the case.

    `cycles` is the interval of cycles, where they are known.
    """
    if interval.high < 0:
        return "faster"
    if upper_bound < math.log1p(rule.slower_than):
        return "passes"
    return "slower" if interval.low > 0 and (cycles is None or cycles.low > 0) else "unclear"


def upper_bound(values: Sequence[float], error: float) -> float:
    """Student's bound that lies below the mean with probability `error`; infinite for fewer than two values."""
    if len(values) < 2:
        return math.inf
    return float(np.mean(values) + quantile(len(values) - 1, error) * np.std(values, ddof=1) / math.sqrt(len(values)))


def gate_verdict_of_run(verdicts: Iterable[str]) -> str:
    """The worst of the cases' verdicts; "unclear" where there are none."""
    return min(verdicts, key=GATE_VERDICTS.index, default="unclear")
