"""`pytest bench --against REF`: the library at a git ref and in the working tree, measured in alternation.

Exit codes, failing closed: 0, every case is the same or faster; 1, at least one is slower; 2, interrupted; 3, at least
one is unclear (`--allow-unclear` makes it 0); 4, refused: nothing was measured, pytest or a case failed, or one was
skipped or exists in one version only (`--allow-missing` accepts these two).
"""

import dataclasses
import random
import sys
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from ...workload import workload_of
from ..environment.disturbances import DisturbanceMonitor
from ..environment.fingerprint_probe import describe_machine, take_fingerprint
from ..environment.nvidia import device_uuid, gpu_query
from ..output.verdict_table import REFUSED, CaseVerdict, Findings, format_verdicts, write_json
from ..plugin import COLLECTED, CONCLUDED, rule_of, threads_of
from ..timing.clock import wall_clock
from ..timing.pairing import Comparison, Pair, TimedCall, compare
from ..timing.quiet import quiet
from ..versions import git_versions
from ..versions.git_versions import ROOT, Side, Spec, VersionError, name_of
from ..versions.worker import Launches
from .self_test import known_power, self_test_file

SELECTION = ("--quick", "--full")
GATE = pytest.StashKey["Gate"]()
PairOf = Callable[[int, Spec], Pair | None]


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("humor-bench gate", "humor-bench: did a commit make it slower?")
    group.addoption("--against", metavar="REF", help="measure this commit's library in turns with the working tree's")
    group.addoption("--isolate", action="store_true", help="each version in processes of its own, launched repeatedly")
    group.addoption("--launches", type=int, default=12, metavar="N", help="pairs of processes at most (default: 12)")
    group.addoption("--against-python", metavar="EXE", help="interpreter, and so packages, of the old version")
    group.addoption("--slower-than", default="3%", metavar="P", help="the smallest change that matters (default: 3%%)")
    group.addoption("--error-rate", default="1%", metavar="P", help="of a run's intervals together (default: 1%%)")
    group.addoption("--max-time", type=float, default=30.0, metavar="S", help="seconds a case may take (default: 30)")
    group.addoption("--allow-unclear", action="store_true", help="exit with 0 where a verdict is unclear")
    group.addoption("--allow-missing", action="store_true", help="compare what both versions have, and list the rest")
    group.addoption("--verdicts", type=Path, metavar="FILE", help="write the verdicts and their samples as JSON")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--against"):
        config.option.benchmark_disable = True  # what is measured is measured here


def pytest_collection_finish(session: pytest.Session) -> None:
    if session.config.getoption("--against") and not session.config.getoption("collectonly"):
        session.config.stash[GATE] = Gate(session.config, [item.nodeid for item in session.items])


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    gate = pyfuncitem.config.stash.get(GATE, None)
    if gate is None:
        return None
    gate.measure(*git_versions.taken_over(pyfuncitem))
    return True


@pytest.hookimpl(wrapper=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> Generator[None, Any, Any]:
    result = yield
    gate = session.config.stash.get(GATE, None)
    if gate is not None:
        if exitstatus == pytest.ExitCode.INTERNAL_ERROR:
            gate.findings.failed["pytest"] = "an internal error, shown above"
        if exitstatus != pytest.ExitCode.INTERRUPTED:
            session.exitstatus = gate.finish()
            session.config.stash[CONCLUDED] = True
        gate.resources.close()
    return result


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    gate = config.stash.get(GATE, None)
    if gate is not None:
        terminalreporter.section(f"{gate.option('--against')} against the working tree")
        for line in gate.lines(known_power(self_test_file(config))):
            terminalreporter.write_line(line)


class Gate:
    """A comparison of two versions, from the options to the exit code. Raises UsageError for what cannot be."""

    def __init__(self, config: pytest.Config, selected: list[str]) -> None:
        self.option = config.getoption
        self.conclusion, self.code = "nothing was measured", REFUSED
        self.selected = [name_of(each) for each in selected]
        self.workload = git_versions.workload_options(config)
        self.findings = Findings()
        self.chance = random.Random()
        self.resources = ExitStack()
        self.started = time.perf_counter()
        if self.option("--launches") < 1:
            raise pytest.UsageError(f"--launches {self.option('--launches')}: give one at least, say, 12.")
        self.rule = rule_of(config, len(selected))
        self.device = workload_of(config).device
        self.threads = threads_of(config, self.device)
        try:
            self.commit = git_versions.commit_of(self.option("--against"))
            self.tree = self.resources.enter_context(git_versions.checked_out(self.commit))
        except VersionError as error:
            raise pytest.UsageError(f"--against: {error}") from None
        self.isolated = bool(self.option("--isolate") or self.option("--against-python"))
        self.pair_of = self._processes() if self.isolated else self._side_by_side()
        self._note_differences(config)
        self.resources.enter_context(quiet(self.threads))
        self.disturbances = DisturbanceMonitor.begin(gpu=gpu_query(device_uuid(str(self.device))))

    def measure(self, name: str, spec: Spec) -> None:
        """Compare one case and note what was found. Raises what the new version raises."""
        first = self.pair_of(0, spec)
        assert first is not None
        old, new = first
        try:
            new()
        except pytest.skip.Exception as skipped:
            self.findings.skipped[name] = str(skipped)
            raise
        except Exception as error:
            self.findings.failed[name] = _why(error)
            raise
        try:
            old()
        except Exception as error:
            self.findings.only_head.append(f"{name} ({_why(error)})")
            return
        try:
            found = compare(
                lambda turn: self.pair_of(turn, spec),
                self.rule,
                self.option("--max-time"),
                self.chance,
                self.isolated,
                self.device.type,
            )
        except Exception as error:  # one that ran once: a process that ended, say
            self.findings.failed[name] = _why(error)
            raise
        self.findings.results.append(result_of(name, found))
        self.disturbances.look()

    def finish(self) -> int:
        """Close the case: the exit code, with the verdicts written."""
        seen = {result.case for result in self.findings.results} | {*self.findings.failed, *self.findings.skipped}
        seen |= {name.partition(" ")[0] for name in self.findings.only_head}
        self.findings.failed |= {name: "it did not run" for name in self.selected if name not in seen}
        self.findings.warnings += self.disturbances.warnings()
        missing, unclear = self.option("--allow-missing"), self.option("--allow-unclear")
        self.conclusion, self.code = self.findings.conclusion(missing, unclear)
        if self.option("--verdicts"):
            try:
                write_json(self.option("--verdicts"), self._as_json())
            except Exception as error:  # what the folder, or git, does not allow
                self.conclusion, self.code = f"the verdicts could not be written: {_why(error)}", REFUSED
        return self.code

    def lines(self, power: Mapping[str, Any]) -> list[str]:
        """What is printed at the end, with what the self-test found."""
        seconds = time.perf_counter() - self.started
        word = f"refused: {self.conclusion}" if self.code == REFUSED else self.conclusion
        return [
            *format_verdicts(self.findings, power),
            "",
            f"{word} ({seconds:.0f} s; {self.rule.slower_than:.3g} matters)",
        ]

    def _as_json(self) -> dict[str, Any]:
        settings = {
            "slower_than": self.rule.slower_than,
            "error_rate": self.rule.error_rate,
            "max_time": self.option("--max-time"),
            "threads": self.threads,
            "isolate": self.isolated,
        }
        head = {"ref": "working tree", "commit": git_versions.commit_of("HEAD"), "dirty": git_versions.has_changes()}
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
            old, new = Side(self.workload, self.tree), Side(self.workload)
        except Exception as error:  # whatever the old version does when it is imported beside the new one
            self.isolated = True
            self.findings.warnings.append(
                f"the old version does not load beside the new one ({_why(error)}): each got processes of its own."
            )
            return self._processes()
        clock = wall_clock(self.device)

        def pair_of(turn: int, spec: Spec) -> Pair:
            return lambda: TimedCall(old.build(spec), clock), lambda: TimedCall(new.build(spec), clock)

        return pair_of

    def _processes(self) -> PairOf:
        pythons = (self.option("--against-python") or sys.executable, sys.executable)
        launches = Launches(pythons, self.tree, self.workload, self.threads, self.option("--launches"), self.chance)
        return self.resources.enter_context(launches)

    def _note_differences(self, config: pytest.Config) -> None:
        """What a comparison of the library alone would hide: other dependencies, and benchmarks that are gone."""
        differ = git_versions.dependencies(self.tree) != git_versions.dependencies(ROOT)
        if differ and not self.option("--against-python"):
            self.findings.warnings.append(
                "the two versions ask for different packages, and both were measured with those installed here; "
                "--against-python EXE gives the old version its own."
            )
        if not git_versions.same_suite(self.commit):
            known = config.stash.get(COLLECTED, set())
            chosen = [name for name in SELECTION if self.option(name)]
            if config.option.keyword:
                chosen += ["-k", config.option.keyword]
            try:
                self.findings.only_base += [
                    name_of(each)
                    for each in git_versions.collected(self.tree, config.args, chosen)
                    if each not in known
                ]
            except VersionError as error:
                self.findings.warnings.append(f"which benchmarks the old version had is not known: {error}")


def result_of(name: str, found: Comparison) -> CaseVerdict:
    """A comparison as a line of the table."""
    rounds = [[x for block in blocks for x in block.log_ratios] for blocks in found.rounds]
    return CaseVerdict(name, found.test.verdict, found.test.interval, rounds, found.seconds)


def _why(error: BaseException) -> str:
    first = (str(error).splitlines() or [""])[0]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
