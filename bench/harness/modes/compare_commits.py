"""`pytest bench --against REF`: the library at a git ref and in the working tree, measured in alternation.

Exit codes, failing closed: 0, every case is the same or faster; 1, at least one is slower; 2, interrupted; 3, at least
one is unclear (`--allow-unclear` makes it 0); 4, refused: nothing was measured, pytest or a case failed, or one was
skipped or exists in one version only (`--allow-missing` accepts these two).
"""

import dataclasses
import random
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from ..case import BenchmarkCase, BenchmarkId, name_of
from ..environment.disturbances import DisturbanceMonitor
from ..environment.fingerprint_probe import describe_machine, take_fingerprint
from ..environment.nvidia import device_uuid, gpu_query
from ..output.files import write_json
from ..output.verdict_table import REFUSED, CaseVerdict, Findings, format_verdicts
from ..session import COLLECTED, device_of, not_compared, project_of, rule_of, threads_of, workload_options
from ..timing.clock import wall_clock
from ..timing.pairing import Comparison, Pair, TimedCall, compare
from ..timing.quiet import quiet
from ..versions.git_versions import GitRepository, VersionError, dependencies
from ..versions.loaded_version import LoadedVersion
from ..versions.worker import Launches
from .mode import Mode
from .self_test import known_power

SELECTION = ("--quick", "--full")
PairOf = Callable[[int, BenchmarkId], Pair | None]


class CompareCommits(Mode):
    """A comparison of two versions, from the options to the exit code."""

    flags = ("--against",)
    fails_closed = True

    @classmethod
    def add_options(cls, parser: pytest.Parser) -> None:
        group = parser.getgroup("bench gate", "benchmarks: did a commit make it slower?")
        add = group.addoption
        add("--against", metavar="REF", help="compare the library at this commit with that in the working tree")
        add("--isolate", action="store_true", help="run each version in its own processes, launched repeatedly")
        add("--launches", type=int, default=12, metavar="N", help="pairs of processes at most (default: 12)")
        add("--against-python", metavar="EXE", help="Python, and so packages, for the version of --against")
        add("--slower-than", default="3%", metavar="P", help="the smallest change that matters (default: 3%%)")
        add("--error-rate", default="1%", metavar="P", help="how often a whole run may be wrong (default: 1%%)")
        add("--max-time", type=float, default=30.0, metavar="S", help="most seconds for a case (default: 30)")
        add("--allow-unclear", action="store_true", help="exit with 0 where a verdict is unclear")
        add("--allow-missing", action="store_true", help="compare what both versions have, and list the rest")
        add("--verdicts", type=Path, metavar="FILE", help="write the verdicts and their samples as JSON")

    def __init__(self, config: pytest.Config) -> None:
        super().__init__(config)
        self.option = config.getoption
        if self.option("--launches") < 1:
            raise pytest.UsageError(f"--launches {self.option('--launches')}: give one at least, say, 12.")
        self.title = f"{self.option('--against')} against the working tree"
        self.project = project_of(config)
        self.repository = GitRepository(self.project)
        self.conclusion, self.code = "nothing was measured", REFUSED
        self.findings = Findings()
        self.chance = random.Random()
        self.resources = ExitStack()
        self.started = time.perf_counter()

    def left_out(self, case: BenchmarkCase) -> str | None:
        return not_compared(self.config, case)

    def start(self, cases: Sequence[BenchmarkCase]) -> None:
        self.selected = [case.name for case in cases]
        self.options = workload_options(self.config)
        self.rule = rule_of(self.config, len(cases))
        self.device, self.threads = device_of(self.config), threads_of(self.config)
        try:
            self.commit = self.repository.commit_of(self.option("--against"))
            self.tree = self.resources.enter_context(self.repository.checked_out(self.commit))
        except VersionError as error:
            raise pytest.UsageError(f"--against: {error}") from None
        self.isolated = bool(self.option("--isolate") or self.option("--against-python"))
        self.pair_of = self._processes() if self.isolated else self._side_by_side()
        self._note_differences()
        self.resources.enter_context(quiet(self.threads))
        self.disturbances = DisturbanceMonitor.begin(gpu=gpu_query(device_uuid(str(self.device))))

    def measure(self, case: BenchmarkCase) -> None:
        first = self.pair_of(0, case.id)
        assert first is not None
        base, head = first
        try:
            head()
        except pytest.skip.Exception as skipped:
            self.findings.skipped[case.name] = str(skipped)
            raise
        except Exception as error:
            self.findings.failed[case.name] = _why(error)
            raise
        try:
            base()
        except Exception as error:
            self.findings.only_head.append(f"{case.name} ({_why(error)})")
            return
        try:
            found = compare(
                lambda turn: self.pair_of(turn, case.id),
                self.rule,
                self.option("--max-time"),
                self.chance,
                self.isolated,
                self.device.type,
            )
        except Exception as error:  # one that ran once: a process that ended, say
            self.findings.failed[case.name] = _why(error)
            raise
        self.findings.results.append(result_of(case.name, found))
        self.disturbances.look()

    def finish(self, status: int) -> int:
        if status == pytest.ExitCode.INTERNAL_ERROR:
            self.findings.failed["pytest"] = "an internal error, shown above"
        seen = {result.case for result in self.findings.results} | {*self.findings.failed, *self.findings.skipped}
        seen |= {name.partition(" ")[0] for name in self.findings.only_head}
        self.findings.failed |= {name: "it did not run" for name in self.selected if name not in seen}
        return self._conclude()

    def interrupted(self) -> None:
        self.findings.refused = f"interrupted after {len(self.findings.results)} of {len(self.selected)} cases"
        self._conclude()

    def close(self) -> None:
        self.resources.close()

    def lines(self) -> list[str]:
        seconds = time.perf_counter() - self.started
        word = f"refused: {self.conclusion}" if self.code == REFUSED else self.conclusion
        table = format_verdicts(self.findings, known_power(self.config))
        return [*table, "", f"{word} ({seconds:.0f} s; {self.rule.slower_than:.3g} matters)"]

    def _conclude(self) -> int:
        """Come to the exit code, and write the verdicts."""
        self.findings.warnings += self.disturbances.warnings()
        missing, unclear = self.option("--allow-missing"), self.option("--allow-unclear")
        self.conclusion, self.code = self.findings.conclusion(missing, unclear)
        if self.option("--verdicts"):
            try:
                write_json(self.option("--verdicts"), self._as_json())
            except Exception as error:  # what the folder, or git, does not allow
                self.conclusion, self.code = f"the verdicts could not be written: {_why(error)}", REFUSED
        return self.code

    def _as_json(self) -> dict[str, Any]:
        settings = {
            "slower_than": self.rule.slower_than,
            "error_rate": self.rule.error_rate,
            "max_time": self.option("--max-time"),
            "threads": self.threads,
            "isolate": self.isolated,
        }
        commit, dirty = self.repository.commit_of("HEAD"), self.repository.has_changes()
        head = {"ref": "working tree", "commit": commit, "dirty": dirty}
        return self.findings.as_json(
            self.conclusion,
            self.code,
            versions={"base": {"ref": self.option("--against"), "commit": self.commit}, "head": head},
            machine=describe_machine(str(self.device), self.threads),
            fingerprint=dataclasses.asdict(take_fingerprint(str(self.device))),
            settings=settings,
            seconds=time.perf_counter() - self.started,
        )

    def _side_by_side(self) -> PairOf:
        try:
            base, head = (LoadedVersion(self.project, self.options, tree) for tree in (self.tree, None))
        except Exception as error:  # whatever the base does when it is imported beside the head
            self.isolated = True
            self.findings.warnings.append(
                f"the base version does not load beside the head ({_why(error)}): each got its own processes."
            )
            return self._processes()
        clock = wall_clock(self.device)

        def pair_of(turn: int, benchmark: BenchmarkId) -> Pair:
            return (
                lambda: TimedCall(base.build(benchmark).call, clock),
                lambda: TimedCall(head.build(benchmark).call, clock),
            )

        return pair_of

    def _processes(self) -> PairOf:
        pythons = (self.option("--against-python") or sys.executable, sys.executable)
        most = self.option("--launches")
        launches = Launches(self.project, pythons, self.tree, self.options, self.threads, most, self.chance)
        return self.resources.enter_context(launches)

    def _note_differences(self) -> None:
        """Warn of what comparing the library alone would hide: other dependencies, and benchmarks that are gone."""
        if not self.option("--against-python") and dependencies(self.tree) != dependencies(self.project.root):
            self.findings.warnings.append(
                "the two versions require different packages, and both were measured with those installed here; "
                "--against-python EXE runs the base with others."
            )
        if self.repository.has_suite_of(self.commit):
            return
        known = self.config.stash.get(COLLECTED, set())
        chosen = [name for name in SELECTION if self.option(name)]
        if self.config.option.keyword:
            chosen += ["-k", self.config.option.keyword]
        try:
            listed = self.repository.collected(self.tree, self.config.args, chosen)
            self.findings.only_base += [name_of(each) for each in listed if each not in known]
        except VersionError as error:
            self.findings.warnings.append(f"which benchmarks the base version had is not known: {error}")


def result_of(name: str, found: Comparison) -> CaseVerdict:
    """A comparison as a line of the table."""
    rounds = [[x for block in blocks for x in block.log_ratios] for blocks in found.rounds]
    return CaseVerdict(name, found.test.verdict, found.test.interval, rounds, found.seconds)


def _why(error: BaseException) -> str:
    first = (str(error).splitlines() or [""])[0]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
