"""`pytest bench --compare-precisions`: does a lower precision pay in a case, is it really lower, and is it right?

Each case of each precision is measured in alternation with the same case in float32, by the statistics of --against;
its answer is compared with a float64 run on the same inputs and weights (the project says how far it may be off); and
its operators are counted. The words:

  pays             it is faster, and right.
  does not pay     it is the same or slower: a gain of `--slower-than` or more is ruled out, or it is a loss.
  unclear          neither: more samples would decide it.
  wrong            its answer is further from float64's than the format explains, or not finite, whatever its time.
  not really half  no matrix multiply ran in the lower format. It is not timed: that would be float32 against itself.

Exit codes: 0, nothing is wrong or pretends; 1, a case is wrong, or one that must multiply in the lower format is not
really half; 2, interrupted, with the table of the cases measured until then; 4, refused: nothing was measured, or a
case failed. Whether a precision pays is what the table is for: no answer to it fails a run.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from ..case import BenchmarkCall, BenchmarkCase, BenchmarkId
from ..counters.operator_times import time_operators
from ..counters.operators import count_operators
from ..environment.fingerprint_probe import describe_machine
from ..output.files import require_writable, write_json
from ..output.verdict_table import REFUSED
from ..project import Precisions
from ..quantities import file_path
from ..session import device_of, project_of, rule_of, threads_of, workload_options
from ..stats.accuracy import Deviation, tensors_in, worst_deviation
from ..stats.precision_verdict import (
    NOT_HALF,
    PAYS,
    WRONG,
    OperatorProfile,
    PrecisionVerdict,
    explain,
    speedup_interval,
    verdict_of,
)
from ..stats.verdict import SequentialTest
from ..timing.clock import clock_of
from ..timing.gpu_clock import gpu_clock
from ..timing.pairing import Timed, TimedCall, compare
from ..timing.quiet import quiet
from ..versions.loaded_version import LoadedVersion
from .mode import Mode

FINE, BAD = 0, 1  # exit codes
SOUND = (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
ORDER = (WRONG, NOT_HALF, PAYS)  # of the table; what else there is comes after
PHASE_RUNS = 3


class ComparePrecisions(Mode):
    """The joint verdicts of a run's cases."""

    flags = ("--compare-precisions",)
    title = "which precision pays"

    @classmethod
    def add_options(cls, parser: pytest.Parser) -> None:
        group = parser.getgroup("bench precisions", "benchmarks: which precision pays?")
        group.addoption(
            "--compare-precisions",
            action="store_true",
            help="compare each precision with float32 for time and with float64 for its error",
        )
        group.addoption(
            "--compare-precisions-json",
            type=file_path,
            metavar="FILE",
            help="write what --compare-precisions finds as JSON",
        )

    @classmethod
    def check_not_chosen(cls, config: pytest.Config) -> None:
        if config.getoption("--compare-precisions-json") is not None:
            raise pytest.UsageError(
                "--compare-precisions-json says where to write what --compare-precisions finds; add that."
            )

    def __init__(self, config: pytest.Config) -> None:
        super().__init__(config)
        precisions = project_of(config).precisions
        if precisions is None:
            raise pytest.UsageError("--compare-precisions: this project's benchmarks have no precision to choose.")
        require_writable("--compare-precisions-json", config.getoption("--compare-precisions-json"))
        self.precisions: Precisions = precisions
        self.findings: list[PrecisionVerdict] = []
        self.refusals: list[str] = []

    def left_out(self, case: BenchmarkCase) -> str | None:
        if case.precision is None:
            return "it has no precision to choose"
        return "what the other precisions are compared with" if case.precision == self.precisions.reference else None

    def start(self, cases: Sequence[BenchmarkCase]) -> None:
        self.rule = rule_of(self.config, len(cases))
        self.max_time = self.config.getoption("--max-time")
        self.device, self.threads = device_of(self.config), threads_of(self.config)
        self.gpu = gpu_clock(self.device, len(cases) * self.max_time)
        self.clock = clock_of(self.device)
        # Bodies are changed to a dtype in place, so that each has a version for itself.
        self.version, self.exact = (
            LoadedVersion(project_of(self.config), workload_options(self.config), dtype=dtype)
            for dtype in ("float32", "float64")
        )

    def measure(self, case: BenchmarkCase) -> None:
        benchmark, precision = case.id, str(case.precision)
        single = replace(benchmark, parameters={**benchmark.parameters, "precision": self.precisions.reference})
        with quiet(self.threads):
            deviation = self._deviation(benchmark, single, precision)
            work, interval, speed, seconds = work_of(self.version.build(benchmark)), None, None, None
            if work.low_flops:
                found = compare(
                    lambda turn: (self._builder(single), self._builder(benchmark)),
                    SequentialTest(self.rule),
                    self.max_time,
                    random.Random(),
                    gpu=self.gpu,
                )
                interval, speed, seconds = found.test.interval, found.test.verdict, found.seconds[1]
            verdict = verdict_of(deviation, work, speed)
            reason = self._reason(verdict, deviation, benchmark, single, work)
        fails = verdict == WRONG or (verdict == NOT_HALF and self.precisions.must_lower(case))
        self.findings.append(
            PrecisionVerdict(case.name, precision, verdict, deviation, reason, interval, seconds, fails)
        )

    def _deviation(self, benchmark: BenchmarkId, single: BenchmarkId, precision: str) -> Deviation:
        exact, found = answer_of(self.exact.build(single)), answer_of(self.version.build(benchmark))
        unit_roundoff = self.precisions.unit_roundoff(precision)
        return worst_deviation(found, exact, self.precisions.bounds, unit_roundoff)

    def _builder(self, benchmark: BenchmarkId) -> Callable[[], Timed]:
        return lambda: TimedCall(self.version.build(benchmark).call, self.clock)

    def _reason(
        self, verdict: str, deviation: Deviation, benchmark: BenchmarkId, single: BenchmarkId, work: OperatorProfile
    ) -> str:
        if verdict in (WRONG, NOT_HALF):
            return explain(verdict, deviation, work, {}, {})
        first, second = self.version.build(single), self.version.build(benchmark)
        single_seconds, own_seconds = time_operators(
            [built.eager or built.call for built in (first, second)], self.clock
        )
        return explain(verdict, deviation, replace(work, seconds=own_seconds), single_seconds, phases(first))

    def finish(self, status: int) -> int:
        if status not in SOUND or not self.findings:
            failed = status not in SOUND
            why = "a case failed, as shown above" if failed else "nothing was measured; choose cases with a precision"
            self.refusals.append(f"refused: {why}.")
            return REFUSED
        self._write()
        return BAD if any(finding.fails for finding in self.findings) else FINE

    def interrupted(self) -> None:
        if self.findings:
            self._write()

    def lines(self) -> list[str]:
        return [*lines(self.findings), *self.refusals]

    def _write(self) -> None:
        file = self.config.getoption("--compare-precisions-json")
        if file is not None:
            machine = describe_machine(str(self.device), self.threads)
            cases = [finding.as_json() for finding in self.findings]
            write_json(file, {"kind": "precisions", "machine": machine, "cases": cases})


def answer_of(built: BenchmarkCall) -> Mapping[str, Any]:
    """What a benchmark says its answer is."""
    if built.answer is None:
        raise LookupError("the benchmark has no answer to compare with float64; give measure an answer=.")
    found: Mapping[str, Any] = built.answer()
    return {name: [tensor.detach().clone() for tensor in tensors_in(value)] for name, value in found.items()}


def work_of(built: BenchmarkCall) -> OperatorProfile:
    """The work of a warm call."""
    call = built.eager or built.call
    call()
    counted = count_operators(call)
    return OperatorProfile(counted.multiply_flops, counted.cast_weights)


def phases(built: BenchmarkCall) -> Mapping[str, float]:
    """Seconds of a step's phases, in its fastest of a few runs; nothing for what has none."""
    if built.phases is None:
        return {}
    runs = [built.phases() for _ in range(PHASE_RUNS)]
    return min(runs, key=lambda run: sum(run.values()))


def lines(findings: list[PrecisionVerdict]) -> list[str]:
    """A line for each finding, what fails first."""
    width = max([len(each.case) for each in findings], default=0)
    table = [f"{'verdict':15} {'case':{width}} {'speed-up':>8} {'interval':16} {'error':>8} {'bound':>8}  why"]
    rank = {word: at for at, word in enumerate(ORDER)}
    for each in sorted(findings, key=lambda each: rank.get(each.verdict, len(ORDER))):
        speedup, low, high = speedup_interval(each.interval)
        between = "" if speedup is None else f"[{low or 0:.2f}, {f'{high:.2f}' if high else '?'}]"
        error = f"{each.deviation.error:8.1e} {each.deviation.bound:8.1e}"
        shown = "" if speedup is None else f"{speedup:.2f}"
        table.append(f"{each.verdict:15} {each.case:{width}} {shown:>8} {between:16} {error}  {each.reason}")
    return table
