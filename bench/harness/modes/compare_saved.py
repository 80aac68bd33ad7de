"""`pytest bench --benchmark-compare`: verdicts over runs that were saved, with machine drift allowed for.

Runs taken at different times differ by machine drift: what changed in between shifts every sample of a run, and no
number of samples shows it. `--calibrate N` runs the unchanged code N times and saves the median of each case; from
these follows how far two runs may differ by chance alone, the drift (a prediction interval: Student's t with N - 1
degrees of freedom times the runs' standard deviation times the root of two). It is added to the interval on both
sides: what is less than the drift is never called slower, nor same where the drift alone is more than what matters.
Without a calibration every verdict is "unclear". `--against` needs none of this.

The exit codes are those of `--against`. A baseline of another machine, software or setting is refused, and a run with a
slower case is never saved.
"""

import dataclasses
import math
from collections.abc import Generator, Sequence
from typing import Any

import numpy as np
import pytest

from ..case import name_of
from ..environment.fingerprint import refusal
from ..environment.fingerprint_probe import take_fingerprint
from ..output.verdict_table import REFUSED, CaseVerdict, Findings, format_verdicts
from ..pytest_benchmark_adapter import (
    TimedBenchmark,
    compares_with_saved,
    do_not_save,
    keep_files_whole,
    save_samples,
    timed_benchmarks,
    would_save,
)
from ..session import COLLECTED, CONCLUDED, device_of, rule_of
from ..stats.verdict import Rule, interval_of
from .calibrate import drift_file, drift_of, read_drift

CHUNKS = 12  # of a run's samples, each with a median
BASELINES = pytest.StashKey[list[dict[str, Any]]]()
CONCLUSION = pytest.StashKey[tuple[str, int, Findings]]()


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    config.stash[BASELINES] = []
    save_samples(config)  # verdicts are over samples, not over their medians


def pytest_sessionstart(session: pytest.Session) -> None:
    keep_files_whole(session.config)


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    machine_info["fingerprint"] = dataclasses.asdict(take_fingerprint(str(device_of(config))))


@pytest.hookimpl(tryfirst=True)
def pytest_benchmark_compare_machine_info(config: pytest.Config, compared_benchmark: dict[str, Any]) -> None:
    keep_files_whole(config)
    config.stash[BASELINES].append(compared_benchmark)


@pytest.hookimpl(tryfirst=True, wrapper=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> Generator[None, Any, Any]:
    config = session.config
    if not compares_with_saved(config) or exitstatus == pytest.ExitCode.INTERRUPTED:
        return (yield)
    findings = compare_with_saved(config, timed_benchmarks(config))
    if exitstatus == pytest.ExitCode.INTERNAL_ERROR:
        findings.failed["pytest"] = "an internal error, shown above"
    if session.testsfailed and not findings.failed:
        findings.failed["a benchmark"] = "see above"
    word, code = findings.conclusion(config.getoption("--allow-missing"), config.getoption("--allow-unclear"))
    if (code == REFUSED or word == "slower") and would_save(config):
        findings.warnings.append("this run is not saved: what is slower, or was refused, becomes no baseline.")
        do_not_save(config)
    config.stash[CONCLUSION] = word, code, findings
    result = yield
    config.stash[CONCLUDED] = True
    session.exitstatus = code
    return result


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if CONCLUSION in config.stash:
        word, code, findings = config.stash[CONCLUSION]
        terminalreporter.section("against the saved run")
        for line in [*format_verdicts(findings), "", f"refused: {word}" if code == REFUSED else word]:
            terminalreporter.write_line(line)


def compare_with_saved(config: pytest.Config, benchmarks: Sequence[TimedBenchmark]) -> Findings:
    """A verdict for every benchmark of this run that the last of the saved runs has."""
    findings = Findings()
    if not config.stash[BASELINES]:
        findings.refused = "no saved run can be read; save one with --benchmark-autosave, and compare with that."
        return findings
    baseline = config.stash[BASELINES][-1]
    here = take_fingerprint(str(device_of(config)))
    problem = refusal(baseline.get("machine_info", {}).get("fingerprint"), here)
    if problem:
        findings.refused = problem.removeprefix("refused: ")
        return findings
    rule = rule_of(config, len(benchmarks))
    then = {bench["fullname"]: bench["stats"].get("data") for bench in baseline["benchmarks"]}
    drift = read_drift(drift_file(config), findings)
    for bench in benchmarks:
        name = name_of(bench.fullname)
        if then.get(bench.fullname):
            base, head = np.asarray(then[bench.fullname]), np.asarray(bench.stats.data)
            findings.results.append(saved_result(name, base, head, drift.get(bench.fullname, []), rule))
        else:
            findings.only_head.append(name)
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
    error = rule.error_rate / rule.cases / 2  # half of it for the samples, half for the drift
    moved = drift_of(drift, error)
    interval = interval_of(ratios, error).widened(moved)
    seconds = float(np.median(base)), float(np.median(head))
    return CaseVerdict(name, rule.verdict(interval), interval, [ratios], seconds)
