"""`pytest bench --pays`: does a lower precision pay in a case, is it really lower, and is it right?

Each case of each precision is measured in turns with the same case in float32, by the gate's own statistics; its answer
is held against a float64 run on the same inputs and weights (worth.py says how far it may be off); and its operators
are counted. The words:

  pays             it is faster, and right.
  does not pay     it is the same or slower: a gain of `--slower-than` or more is ruled out, or it is a loss.
  unclear          more samples would tell.
  wrong            its answer is further from float64's than the format explains, or not finite, whatever its time.
  not really half  no matrix multiply ran in the lower format. It is not timed: that would be float32 against itself.

Exit codes: 0, nothing is wrong or pretends; 1, a case is wrong, or one with a network is not really half (geometry is
float32 in every precision, on purpose); 4, refused: nothing was measured, or a case failed. Whether a precision pays
is what the table is for: no answer to it fails a run.
"""

import random
from collections.abc import Callable, Generator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ...project import BOUNDS
from ...workload import workload_of
from ..counters.operator_times import time_operators
from ..counters.operators import count_operators
from ..environment.fingerprint_probe import describe_machine
from ..output.verdict_table import REFUSED, write_json
from ..plugin import rule_of, threads_of
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
from ..timing.clock import cpu_time_clock
from ..timing.pairing import Timed, TimedCall, compare
from ..timing.quiet import quiet
from ..versions.git_versions import Built, Side, Spec, taken_over, workload_options

FINE, BAD = 0, 1  # exit codes
SOUND = (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
ORDER = (WRONG, NOT_HALF, PAYS)  # of the table; what else there is comes after
PHASE_RUNS = 3
WORTH = pytest.StashKey["Worth"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("humor-bench precisions", "humor-bench: which precision pays?")
    group.addoption("--pays", action="store_true", help="each precision against float32 for time, float64 for error")
    group.addoption("--pays-to", type=Path, metavar="FILE", help="write what --pays finds as JSON")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--pays-to") and not config.getoption("--pays"):
        raise pytest.UsageError("--pays-to says where to write what --pays finds; add --pays.")
    if config.getoption("--pays"):
        config.option.benchmark_disable = True


def pytest_collection_finish(session: pytest.Session) -> None:
    if session.config.getoption("--pays") and not session.config.getoption("collectonly"):
        session.config.stash[WORTH] = Worth(session.config, len(session.items))


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    worth = pyfuncitem.config.stash.get(WORTH, None)
    if worth is None:
        return None
    case: Any = pyfuncitem.callspec.params.get("case")
    worth.measure(*taken_over(pyfuncitem), has_network=case is not None and case[1].has_weights)
    return True


@pytest.hookimpl(wrapper=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> Generator[None, Any, Any]:
    result = yield
    worth = session.config.stash.get(WORTH, None)
    if worth is not None and exitstatus != pytest.ExitCode.INTERRUPTED:
        session.exitstatus = worth.finish(session.config.getoption("--pays-to"), exitstatus not in SOUND)
    return result


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    worth = config.stash.get(WORTH, None)
    if worth is not None:
        terminalreporter.section("which precision pays")
        for line in [*lines(worth.findings), *worth.refusals]:
            terminalreporter.write_line(line)


class Worth:
    """The joint verdicts of a run's cases."""

    def __init__(self, config: pytest.Config, cases: int) -> None:
        self.rule = rule_of(config, cases)
        self.max_time = config.getoption("--max-time")
        self.device = workload_of(config).device
        self.threads = threads_of(config, self.device)
        self.clock = cpu_time_clock(self.device, self.threads)
        options = workload_options(config)
        self.side, self.exact = Side(options), Side(options, dtype="float64")
        self.findings: list[PrecisionVerdict] = []
        self.refusals: list[str] = []

    def measure(self, name: str, spec: Spec, has_network: bool) -> None:
        """Find one case's word. Raises what the case raises."""
        precision = str(spec.parameters["precision"])
        single = replace(spec, parameters={**spec.parameters, "precision": "fp32"})
        with quiet(self.threads):
            deviation = self._deviation(spec, single, precision)
            work, interval, speed, seconds = work_of(self.side.built(spec)), None, None, None
            if work.low_flops:
                found = compare(
                    lambda turn: (self._builder(single), self._builder(spec)),
                    self.rule,
                    self.max_time,
                    random.Random(),
                    device=self.device.type,
                )
                interval, speed, seconds = found.test.interval, found.test.verdict, found.seconds[1]
            verdict = verdict_of(deviation, work, speed)
            reason = self._reason(verdict, deviation, spec, single, work)
        fails = verdict == WRONG or (verdict == NOT_HALF and has_network)
        self.findings.append(PrecisionVerdict(name, precision, verdict, deviation, reason, interval, seconds, fails))

    def _deviation(self, spec: Spec, single: Spec, precision: str) -> Deviation:
        from humor.precision.presets import Precision

        exact, found = answer_of(self.exact.built(single)), answer_of(self.side.built(spec))
        return worst_deviation(found, exact, BOUNDS, Precision(precision).unit_roundoff)

    def _builder(self, spec: Spec) -> Callable[[], Timed]:
        return lambda: TimedCall(self.side.build(spec), self.clock)

    def _reason(self, verdict: str, deviation: Deviation, spec: Spec, single: Spec, work: OperatorProfile) -> str:
        if verdict in (WRONG, NOT_HALF):
            return explain(verdict, deviation, work, {}, {})
        first, second = self.side.built(single), self.side.built(spec)
        single_seconds, own_seconds = time_operators(
            [built.eager or built.call for built in (first, second)], self.clock
        )
        return explain(verdict, deviation, replace(work, seconds=own_seconds), single_seconds, phases(first))

    def finish(self, file: Path | None, failed: bool) -> int:
        """The exit code, with the findings written."""
        if failed or not self.findings:
            why = "a case failed, as said above" if failed else "nothing was measured; choose cases with a precision"
            self.refusals.append(f"refused: {why}.")
            return REFUSED
        if file is not None:
            machine = describe_machine(str(self.device), self.threads)
            cases = [finding.as_json() for finding in self.findings]
            write_json(file, {"kind": "precisions", "machine": machine, "cases": cases})
        return BAD if any(finding.fails for finding in self.findings) else FINE


def answer_of(built: Built) -> Mapping[str, Any]:
    """What a benchmark says its answer is."""
    if built.answer is None:
        raise LookupError("the benchmark has no answer to hold against float64; give measure an answer=.")
    found: Mapping[str, Any] = built.answer()
    return {name: [tensor.detach().clone() for tensor in tensors_in(value)] for name, value in found.items()}


def work_of(built: Built) -> OperatorProfile:
    """The work of a warm call."""
    call = built.eager or built.call
    call()
    counted = count_operators(call)
    return OperatorProfile(counted.multiply_flops, counted.cast_weights)


def phases(built: Built) -> Mapping[str, float]:
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
        told = "" if speedup is None else f"{speedup:.2f}"
        table.append(f"{each.verdict:15} {each.case:{width}} {told:>8} {between:16} {error}  {each.reason}")
    return table
