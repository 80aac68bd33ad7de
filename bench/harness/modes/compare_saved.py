"""`pytest bench --benchmark-compare`: verdicts on this run against one that was saved.

A saved run names its commit. Where that commit can be had, and nothing was changed beside it, the two versions are
measured anew, alternated, as `--against` does: then the machine is the same for both. Else the saved samples are
compared. Runs taken at different times differ by machine drift, which changes every sample of a run, so that no number
of samples shows it. `--calibrate N` runs the unchanged code N times and keeps how each case's median moved; from that
follows how far two runs may differ by chance (a prediction interval: Student's t with N - 1 degrees of freedom times
the runs' standard deviation times the root of two), and interval and bound are widened by it. Without a calibration
there is no verdict: a sentence says so and how to get one, and the run is refused where a gate was asked for, by
`--benchmark-compare-fail` or in CI (the variable CI is set).

The exit codes are those of `--against`. Samples of another machine, software or setting are refused, and a run with a
slower case is never saved.
"""

import dataclasses
import math
import os
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing, suppress
from typing import Any

import numpy as np
import pytest

from ..case import BenchmarkCase, case_of, is_benchmark, name_of
from ..environment.fingerprint import refusal
from ..output.verdict_table import REFUSED, SLOWER, CaseVerdict, Findings, format_verdicts
from ..pytest_benchmark_adapter import (
    PerformanceRegression,
    TimedBenchmark,
    compares_with_saved,
    do_not_save,
    has_saved_runs,
    keep_files_whole,
    save_samples,
    timed_benchmarks,
    would_save,
)
from ..session import COLLECTED, CONCLUDED, fingerprint_of, project_of, rule_for, rule_of
from ..stats.gate_verdict import gate_verdict, upper_bound
from ..stats.verdict import Rule, interval_of
from ..timing.pairing import typical_time
from ..versions.git_versions import GitRepository, UnknownCommitError, VersionError
from .calibrate import FEWEST_RUNS, drift_of, read_drift
from .compare_commits import CompareCommits
from .interrupts import sigterm_interrupts

CHUNKS = 12  # of a run's samples, each with a median
BASELINES = pytest.StashKey[list[dict[str, Any]]]()
CONCLUSION: "pytest.StashKey[Conclusion]" = pytest.StashKey()


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    config.stash[BASELINES] = []
    save_samples(config)  # verdicts are over samples, not over their medians


def pytest_sessionstart(session: pytest.Session) -> None:
    keep_files_whole(session.config)


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    machine_info["fingerprint"] = dataclasses.asdict(fingerprint_of(config))


@pytest.hookimpl(tryfirst=True)
def pytest_benchmark_compare_machine_info(config: pytest.Config, compared_benchmark: dict[str, Any]) -> None:
    keep_files_whole(config)
    config.stash[BASELINES].append(compared_benchmark)


@pytest.hookimpl(tryfirst=True, wrapper=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> Generator[None, Any, Any]:
    config = session.config
    if not compares_with_saved(config) or exitstatus == pytest.ExitCode.INTERRUPTED:
        return (yield)
    conclusion = conclude(session, exitstatus)
    if conclusion.code in (SLOWER, REFUSED) and would_save(config) and not conclusion.is_first_run:
        conclusion.lines.append("warning: this run is not saved: what is slower, or was refused, becomes no baseline.")
        do_not_save(config)
    config.stash[CONCLUSION] = conclusion
    code, result = conclusion.code, None
    try:
        result = yield
    except PerformanceRegression:  # --benchmark-compare-fail, which has said of which
        code = SLOWER if code != REFUSED else code
    config.stash[CONCLUDED] = True
    if code is not None:
        session.exitstatus = code
    return result


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> Generator[None, Any, Any]:
    try:
        return (yield)
    finally:
        if CONCLUSION in config.stash:
            terminalreporter.section("against the saved run")
            for line in config.stash[CONCLUSION].lines:
                terminalreporter.write_line(line)


@dataclasses.dataclass
class Conclusion:
    """What a comparison with a saved run came to."""

    code: int | None  # None: there is no verdict, and nobody asked for one
    lines: list[str]
    is_first_run: bool = False  # so that it is saved for the next to be compared with, whatever the code


def conclude(session: pytest.Session, exitstatus: int) -> Conclusion:
    """Compare with the last of the saved runs, by measuring both versions anew where that can be."""
    config = session.config
    if not config.stash[BASELINES]:
        return _without_baseline(session, exitstatus)
    baseline = config.stash[BASELINES][-1]
    commit, why = commit_of(baseline, GitRepository(project_of(config)))
    if commit is not None and not session.testsfailed and exitstatus == pytest.ExitCode.OK:
        return measure_anew(session, commit)
    findings = compare_samples(session, timed_benchmarks(config), baseline, why)
    if exitstatus == pytest.ExitCode.INTERNAL_ERROR:
        findings.failed["pytest"] = "an internal error, shown above"
    elif session.testsfailed:
        findings.failed["a benchmark"] = "see above"
    return _concluded(config, findings)


def _without_baseline(session: pytest.Session, exitstatus: int) -> Conclusion:
    """A refusal. The first run of all is saved nevertheless: there is none that it could take the place of."""
    config = session.config
    wanted = config.getoption("benchmark_compare")
    if has_saved_runs(config):
        why = f'no saved run is "{wanted}"; give the number of one, or none for the last of them.'
    elif not would_save(config):
        why = "no saved run can be read; save one with --benchmark-autosave, then compare."
    elif exitstatus != pytest.ExitCode.OK or not timed_benchmarks(config):
        why = "no saved run can be read, and this one becomes none, as it failed; mend that and run it again."
    else:
        why = "no saved run can be read; this one is saved now, and the next is compared with it."
        return dataclasses.replace(_concluded(config, Findings(refused=why)), is_first_run=True)
    return _concluded(config, Findings(refused=why))


def _concluded(config: pytest.Config, findings: Findings) -> Conclusion:
    word, code = findings.conclusion(config.getoption("--allow-missing"), config.getoption("--allow-unclear"))
    if code == REFUSED and findings.no_verdict and not findings.failed and not is_gate(config):
        return Conclusion(None, [*format_verdicts(findings), "", f"no verdict: {word}"])
    return Conclusion(code, [*format_verdicts(findings), "", f"refused: {word}" if code == REFUSED else word])


def is_gate(config: pytest.Config) -> bool:
    """Whether the exit code is to be a verdict: not where somebody only looks at the table."""
    return bool(config.getoption("benchmark_compare_fail")) or os.environ.get("CI", "") not in ("", "0", "false")


def commit_of(baseline: Mapping[str, Any], repository: GitRepository) -> tuple[str | None, str]:
    """The commit of a saved run where it can be had as it was; else None and why not."""
    saved = baseline.get("commit_info") or {}
    if saved.get("error"):
        return None, f"the saved run names no commit, as git did not answer then ({saved['error']})"
    if saved.get("id") in (None, "", "unversioned"):
        return None, "the saved run names no commit"
    if saved.get("dirty"):
        return None, f"the saved run was of changes that are not in its commit {saved['id'][:10]}"
    try:
        return repository.commit_of(saved["id"]), ""
    except UnknownCommitError:
        return None, f"the saved run's commit {saved['id'][:10]} is not to be had here"
    except VersionError as error:
        return None, f"the saved run's commit {saved['id'][:10]} is not to be had here ({str(error).rstrip('.')})"


def measure_anew(session: pytest.Session, commit: str) -> Conclusion:
    """Measure the saved run's commit and the working tree, alternated."""
    try:
        with closing(CompareCommits(session.config, commit)) as gate, sigterm_interrupts():
            code = _measure(gate, [case_of(item) for item in session.items if is_benchmark(item)])
            lines = gate.lines()
    except pytest.UsageError as error:
        return Conclusion(REFUSED, [f"refused: {error}"])
    return Conclusion(code, [f"measured anew, alternated with {commit[:10]}, which the saved run is of:", *lines])


def _measure(gate: CompareCommits, cases: Sequence[BenchmarkCase]) -> int:
    """The exit code, of a whole measurement or of an interrupted one."""
    try:
        selected = gate.select([case for case in cases if gate.left_out(case) is None])
        gate.start(selected)
        for case in selected:
            with suppress(Exception, pytest.skip.Exception):  # which the gate's findings name
                gate.measure(case)
        gate.after_cases()
    except KeyboardInterrupt:
        gate.interrupted()
        return int(pytest.ExitCode.INTERRUPTED)
    return gate.finish(pytest.ExitCode.OK)


def compare_samples(
    session: pytest.Session, benchmarks: Sequence[TimedBenchmark], baseline: Mapping[str, Any], why_not_anew: str
) -> Findings:
    """A verdict from saved samples for every benchmark of this run that the saved one has."""
    findings, config = Findings(), session.config
    problem = refusal(baseline.get("machine_info", {}).get("fingerprint"), fingerprint_of(config))
    if problem:
        findings.refused = problem.removeprefix("refused: ")
        return findings
    rule = rule_of(config, len(benchmarks))
    then = {bench["fullname"]: bench["stats"].get("data") for bench in baseline["benchmarks"]}
    drift, problem = read_drift(config)
    shared = [bench for bench in benchmarks if then.get(bench.fullname)]
    uncalibrated = [bench for bench in shared if len(drift.get(bench.fullname, [])) < FEWEST_RUNS]
    if uncalibrated:
        findings.no_verdict = True
        findings.refused = (
            f"{why_not_anew}, so that it cannot be measured anew, and {problem or 'too few runs were calibrated'}; "
            "pytest bench --calibrate 8 makes saved samples comparable, --against REF needs none."
        )
        return findings
    cases = {item.nodeid: case_of(item) for item in session.items if is_benchmark(item)}
    for bench in shared:
        base, head = np.asarray(then[bench.fullname]), np.asarray(bench.stats.data)
        case = cases[bench.fullname]
        result = saved_result(case.name, base, head, drift[bench.fullname], rule_for(config, case, rule))
        findings.results.append(result)
    findings.only_head += [name_of(bench.fullname) for bench in benchmarks if not then.get(bench.fullname)]
    known = config.stash[COLLECTED]
    findings.only_base += [name_of(name) for name in then if name not in known]
    return findings


def saved_result(name: str, base: np.ndarray, head: np.ndarray, drift: Sequence[float], rule: Rule) -> CaseVerdict:
    """Two runs' samples of one case, with the drift between runs."""
    chunks = min(CHUNKS, len(base), len(head))
    ratios = [
        math.log(np.median(b) / np.median(a))
        for a, b in zip(np.array_split(base, chunks), np.array_split(head, chunks), strict=True)
    ]
    of_family, of_case = rule.error_rate / rule.cases / 2, rule.error_rate / 2  # the other half is for the drift
    interval = interval_of(ratios, of_family).widened(drift_of(drift, of_family))
    bound = upper_bound(ratios, of_case) + drift_of(drift, of_case)
    seconds = typical_time(np.array_split(base, chunks)), typical_time(np.array_split(head, chunks))
    return CaseVerdict(name, gate_verdict(interval, bound, rule), interval, [ratios], seconds, bound)
