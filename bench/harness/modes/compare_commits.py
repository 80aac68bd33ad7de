"""`pytest bench --against REF`: the library at a git ref, or in a folder, and in the working tree, alternated.

Cases that run nothing that differs between the versions are not measured (`untouched`), but for a few that are measured
along as controls. The others are each measured shortly, and then, within `--budget`, wherever a verdict is nearest;
`-x` ends that at the first case that is slower.

Exit codes, failing closed: 0, every case passes, is faster or untouched; 1, at least one is slower; 2, interrupted; 3,
at least one is unclear (`--allow-unclear` makes it 0); 4, refused: pytest or a case failed, one was skipped or exists
in one version only (`--allow-missing` accepts these two), a control changed, or nothing was chosen.
"""

import dataclasses
import math
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from ..case import BenchmarkCase
from ..environment.disturbances import DisturbanceMonitor
from ..environment.fingerprint_probe import describe_machine
from ..environment.nvidia import device_uuid, gpu_query
from ..output.files import require_writable, write_json
from ..output.progress import ProgressLine
from ..output.verdict_table import REFUSED, CaseVerdict, Findings, format_verdicts
from ..pytest_benchmark_adapter import file_beside_saved_runs
from ..quantities import file_path, seconds_of
from ..session import (
    device_of,
    fingerprint_of,
    not_compared,
    project_of,
    rule_for,
    rule_of,
    threads_of,
    workload_options,
)
from ..stats.gate_verdict import GateTest
from ..timing.budget import advice
from ..timing.budgeted_rounds import BudgetedRounds
from ..timing.gpu_clock import gpu_clock
from ..timing.pairing import Comparison, gains_by_forks
from ..timing.quiet import quiet
from ..untouched.selection import Selection, select
from ..untouched.shards import shard_of
from ..untouched.traces import TraceJob
from ..versions.worker import WorkerError, check_python
from .compared_versions import ComparedVersions, why
from .mode import Mode
from .self_test import known_power

# Options that without a comparison would be left unread, as a gate would that is not there.
NOT_ALONE = (
    "--verdicts", "--shard", "--against-python", "--isolate", "--measure-all", "--allow-unclear", "--allow-missing",
)  # fmt: skip


class CompareCommits(Mode):
    """A comparison of two versions, from the options to the exit code."""

    flags = ("--against",)

    @classmethod
    def add_options(cls, parser: pytest.Parser) -> None:
        group = parser.getgroup("bench gate", "benchmarks: did a commit make it slower?")
        add = group.addoption
        add("--against", metavar="REF", help="compare the library at this commit, or in this folder, with this one")
        add("--budget", default="5min", metavar="T", help="how long cases are measured: 90s, 5min, 1h (default: 5min)")
        add("--measure-all", action="store_true", help="measure cases that run nothing that changed, too")
        add("--slower-than", default="3%", metavar="P", help="the smallest slowdown that matters (default: 3%%)")
        add("--error-rate", default="1%", metavar="P", help="how often a whole run may be wrong (default: 1%%)")
        add("--allow-unclear", action="store_true", help="exit with 0 where a verdict is unclear")
        add("--allow-missing", action="store_true", help="compare what both versions have, and list the rest")
        add("--shard", metavar="K/N", help="measure the K-th of N parts: 2/4; bench.harness.output.merge joins them")
        add("--isolate", action="store_true", help="run each version in its own processes, launched repeatedly")
        add("--launches", type=int, default=12, metavar="N", help="pairs of processes at most (default: 12)")
        add("--against-python", metavar="EXE", help="Python, and so packages, for the version of --against")
        add("--verdicts", type=file_path, metavar="FILE", help="write the verdicts and their samples as JSON")
        add("--max-time", type=float, default=30.0, metavar="S", help="most seconds for a case of the other modes")

    @classmethod
    def check_not_chosen(cls, config: pytest.Config) -> None:
        given = next((name for name in NOT_ALONE if config.getoption(name) not in (None, False)), None)
        if given is not None and not config.getoption("benchmark_compare"):
            raise pytest.UsageError(f"{given} is of a comparison; add --against REF.")

    def __init__(self, config: pytest.Config, ref: str | None = None) -> None:
        super().__init__(config)
        self.option = config.getoption
        self.ref = self.option("--against") if ref is None else ref
        self.title = f"{self.ref} against the working tree"
        self.budget = seconds_of(self.option("--budget"), "--budget")
        self.shard = shard_of(self.option("--shard"))
        self.rule = rule_of(config, 1)
        self.device, self.threads = device_of(config), threads_of(config)
        self._refuse_what_would_fail_later()
        self.versions: ComparedVersions | None = None
        self.conclusion, self.code = "nothing was measured", REFUSED
        self.findings, self.selection = Findings(), Selection()
        self.cases: list[BenchmarkCase] = []  # to measure
        self.not_reached: list[str] = []
        self.rounds: BudgetedRounds | None = None
        self.disturbances: DisturbanceMonitor | None = None
        self.resources = ExitStack()
        self.started = time.perf_counter()

    def _refuse_what_would_fail_later(self) -> None:
        require_writable("--verdicts", self.option("--verdicts"))
        if self.option("--against-python") is not None:
            try:
                check_python(self.option("--against-python"), project_of(self.config))
            except WorkerError as error:
                python = self.option("--against-python")
                raise pytest.UsageError(f"--against-python {python} is refused: {error}") from None

    def left_out(self, case: BenchmarkCase) -> str | None:
        return not_compared(self.config, case)

    def select(self, cases: Sequence[BenchmarkCase]) -> Sequence[BenchmarkCase]:
        self.line = ProgressLine(self.config)
        self.versions = ComparedVersions(self.config, self.ref, self.resources)
        self.selection = self._select(cases, self.versions.tree)
        touched, controls = [*self.selection.reasons], self.selection.controls
        mine = self.shard.part(touched, self.selection.seconds) if self.shard else touched
        self.rule = rule_of(self.config, len(touched) + len(controls))
        self.findings.untouched = [name for name in self.selection.untouched if name not in controls]
        self.findings.not_run = self.selection.not_run
        self.findings.elsewhere = len(touched) - len(mine)
        return [case for case in cases if case.name in {*mine, *controls}]

    def start(self, cases: Sequence[BenchmarkCase]) -> None:
        self.cases = [*cases]
        self.rules = {case.name: rule_for(self.config, case, self.rule) for case in cases}
        versions = self.versions
        assert versions is not None
        versions.note_differences(self.findings)
        if cases:
            pair_of = versions.pairs(self.findings)
            self.resources.enter_context(quiet(self.threads))
            self.disturbances = DisturbanceMonitor.begin(gpu=gpu_query(device_uuid(str(self.device))))
            self.rounds = BudgetedRounds(
                pair_of,
                self.budget,
                len(cases),
                versions.isolated,
                gpu_clock(self.device, self.budget),
                self._after_round,
                self.option("maxfail") or 0,
            )

    def measure(self, case: BenchmarkCase) -> None:
        rounds = self.rounds
        assert rounds is not None
        if not rounds.left:
            self.not_reached.append(case.name)
            return
        first = rounds.pair_of(0, case.id)
        assert first is not None
        base, head = first
        try:
            in_forks = gains_by_forks(head(), self.device)
        except pytest.skip.Exception as skipped:
            self.findings.skipped[case.name] = str(skipped)
            raise
        except Exception as error:
            self.findings.failed[case.name] = why(error)
            raise
        try:
            in_forks &= gains_by_forks(base(), self.device)  # called here as well: what is kept, forks inherit
        except Exception as error:
            self.findings.only_head.append(f"{case.name} ({why(error)})")
            return
        is_control = case.name in self.selection.controls
        rounds.measure_shortly(case.name, case.id, self.rules[case.name], is_control, in_forks)

    def after_cases(self) -> None:
        if self.rounds is not None:
            self.rounds.measure_on()

    def finish(self, status: int) -> int:
        if status == pytest.ExitCode.INTERNAL_ERROR:
            self.findings.failed["pytest"] = "an internal error, shown above"
        seen = {*self.findings.failed, *self.findings.skipped, *self.not_reached}
        seen |= self.rounds.progress.keys() if self.rounds else set()
        seen |= {name.partition(" ")[0] for name in self.findings.only_head}
        self.findings.failed |= {case.name: "it did not run" for case in self.cases if case.name not in seen}
        return self._conclude()

    def interrupted(self) -> None:
        clear = sum(progress.is_clear for progress in self.rounds.progress.values()) if self.rounds else 0
        stage = f"when {clear} of {len(self.cases)} cases were clear" if self.cases else "before anything was measured"
        self.findings.refused = f"interrupted {stage}"
        self._conclude()

    def close(self) -> None:
        self.resources.close()

    def lines(self) -> list[str]:
        seconds = time.perf_counter() - self.started
        word = f"refused: {self.conclusion}" if self.code == REFUSED else self.conclusion
        table = format_verdicts(self.findings, known_power(self.config))
        return [*table, "", f"{word} ({seconds:.0f} s; a slowdown of {self.rule.slower_than:.3g} matters)"]

    def _select(self, cases: Sequence[BenchmarkCase], base: Path) -> Selection:
        """Which cases the change can affect; all of them where that is not asked, or packages may differ."""
        if self.option("--measure-all") or self.option("--against-python") is not None:
            return Selection(dict.fromkeys([case.name for case in cases], ""))
        job = TraceJob(project_of(self.config), base, workload_options(self.config), self.device.type)
        return select(job, cases, file_beside_saved_runs(self.config, "traces"), self.line.tracing)

    def _after_round(self) -> None:
        assert self.rounds is not None
        assert self.disturbances is not None
        self.disturbances.look()
        pauses = self.rounds.gpu.pauses if self.rounds.gpu else ""
        self.line.measuring(self.rounds.progress.values(), len(self.cases), self.rounds.left, pauses)

    def _conclude(self) -> int:
        """Come to the exit code, and write the verdicts."""
        self.line.clear()
        if self.rounds is not None:
            self._add_results(self.rounds)
        if self.disturbances is not None:
            self.findings.warnings += self.disturbances.warnings()
        missing, unclear = self.option("--allow-missing"), self.option("--allow-unclear")
        self.conclusion, self.code = self.findings.conclusion(missing, unclear)
        if self.option("--verdicts") is not None:
            try:
                write_json(self.option("--verdicts"), self._as_json())
            except Exception as error:  # what the folder, or git, does not allow
                self.conclusion, self.code = f"the verdicts could not be written: {why(error)}", REFUSED
        return self.code

    def _add_results(self, rounds: BudgetedRounds) -> None:
        """A line of the table for each case that ran, after a last look; and what a larger budget would do."""
        self.findings.warnings += rounds.gpu.warnings() if rounds.gpu else []
        self.findings.failed |= {name: why(error) for name, error in rounds.failed.items()}
        found = {name: progress.comparison for name, progress in rounds.progress.items()}
        found |= {name: Comparison(GateTest(self.rules[name])) for name in self.not_reached}
        for name, comparison in found.items():
            comparison.test.finish()
            result = result_of(name, comparison, self.selection.reasons.get(name, ""), self.rule.slower_than)
            control = name in self.selection.controls
            (self.findings.controls if control else self.findings.results).append(result)
        unclear = {
            name: progress
            for name, progress in rounds.progress.items()
            if not progress.is_clear and not progress.is_control
        }
        if rounds.ended_early:
            others = len(unclear) + len(self.not_reached)
            self.findings.warnings += [
                f"ended by -x or --maxfail: {others} other cases were not measured to a verdict."
            ]
        else:
            self.findings.warnings += advice(unclear, self.budget, len(self.not_reached))

    def _as_json(self) -> dict[str, Any]:
        assert self.versions is not None
        settings = {
            "slower_than": self.rule.slower_than,
            "error_rate": self.rule.error_rate,
            "budget": self.budget,
            "threads": self.threads,
            "isolate": self.versions.isolated,
            "measure_all": bool(self.option("--measure-all")),
            "allow_missing": bool(self.option("--allow-missing")),
            "allow_unclear": bool(self.option("--allow-unclear")),
        }
        touched = list(self.selection.reasons)
        shard = {"number": self.shard.number, "of": self.shard.of, "cases": touched} if self.shard else None
        return self.findings.as_json(
            self.conclusion,
            self.code,
            versions=self.versions.as_json(),
            machine=describe_machine(str(self.device), self.threads),
            fingerprint=dataclasses.asdict(fingerprint_of(self.config)),
            settings=settings,
            shard=shard,
            seconds=time.perf_counter() - self.started,
        )


def result_of(name: str, found: Comparison, touched_by: str, slower_than: float) -> CaseVerdict:
    """A comparison as a line of the table; `slower_than` is what matters in other cases."""
    rounds = [[x for block in blocks for x in block.log_ratios] for blocks in found.rounds]
    test = found.test
    assert isinstance(test, GateTest)
    seconds = found.seconds if found.rounds else (math.nan, math.nan)
    threshold = test.rule.slower_than if test.rule.slower_than != slower_than else None
    bounds = test.upper_bound, touched_by, threshold, test.cycles_interval
    return CaseVerdict(name, test.verdict, test.interval, rounds, seconds, *bounds)
