"""Many cases measured within one budget of time: first each of them shortly, then wherever a verdict is nearest."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from ..case import BenchmarkId
from ..stats.gate_verdict import GateTest
from ..stats.verdict import FIRST_LOOK, Rule
from .budget import CaseProgress, next_case
from .gpu_clock import GpuClock
from .pairing import Comparison, Pair

SHORT_PASS = 0.6  # of the budget: after it, a case of the first pass gets one round


@dataclass
class BudgetedRounds:
    """The rounds of a run. `pair_of` gives the builders of a round of a case, from its number; None after the last."""

    pair_of: Callable[[int, BenchmarkId], Pair | None]
    budget: float  # seconds
    cases: int  # that share it
    isolated: bool  # a pair of processes is one value
    gpu: GpuClock | None
    after_round: Callable[[], None]
    most_slower: int = 0  # cases after which they end; 0 for no limit
    rng: random.Random = field(default_factory=random.Random)
    progress: dict[str, CaseProgress] = field(default_factory=dict)
    failed: dict[str, Exception] = field(default_factory=dict)  # what cases raised that had run before
    started: float = field(default_factory=time.perf_counter)

    def __post_init__(self) -> None:
        self._ids: dict[str, BenchmarkId] = {}
        self._turn = 0

    @property
    def elapsed(self) -> float:
        """Seconds since they began."""
        return time.perf_counter() - self.started

    @property
    def ended_early(self) -> bool:
        """Whether as many cases are slower as the run was to wait for."""
        slower = sum(each.test.verdict == "slower" for each in self.progress.values() if not each.is_control)
        return 0 < self.most_slower <= slower

    @property
    def left(self) -> float:
        """Seconds of the budget; none after the last case to wait for."""
        return 0.0 if self.ended_early else max(self.budget - self.elapsed, 0.0)

    def measure_shortly(
        self, name: str, case: BenchmarkId, rule: Rule, is_control: bool, in_forks: bool = False
    ) -> None:
        """Measure a case until its first look, or one round where most of the budget is over."""
        progress = self.progress[name] = CaseProgress(Comparison(GateTest(rule), in_forks), is_control)
        self._ids[name] = case
        while progress.test.waits_for_first_look and self._measure_round(name):
            if self.elapsed > SHORT_PASS * self.budget:
                break

    def measure_on(self) -> None:
        """Measure rounds until every case is clear, or the budget ends."""
        while self.left and (name := next_case(self.progress, self._turn)) is not None:
            self._measure_round(name)

    def _measure_round(self, name: str) -> bool:
        """Measure one round of a case; whether another could follow."""
        progress = self.progress[name]
        pair = self.pair_of(progress.rounds, self._ids[name])
        if pair is None:
            progress.exhausted = True
            return False
        start = time.perf_counter()
        try:
            longest = self.budget / self.cases / FIRST_LOOK
            progress.comparison.measure_round(pair, self.rng, longest, self.isolated, self.gpu)
        except Exception as error:  # a process that ended, say
            self.failed[name] = error
            progress.exhausted = True
            return False
        self._turn += 1
        progress.seconds, progress.last_turn = progress.seconds + time.perf_counter() - start, self._turn
        self.after_round()
        return True
