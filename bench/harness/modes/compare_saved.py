"""`pytest bench --benchmark-compare`: verdicts over runs that were saved, with the machine's drift between them.

Two runs apart in time do not see the same machine: what changed between them changes every sample of a run, and no
number of samples shows it. `--calibrate N` runs the unchanged code N times and keeps how each case's median moved; from
that comes how far two runs may differ by chance alone, the drift (a prediction interval: Student's t with N - 1
degrees of freedom times the runs' standard deviation times the root of two). It is added to the interval on both
sides: what is less than the drift is never called slower, nor same where the drift alone is more than what matters.
Without a calibration nothing can be told, and every verdict is "unclear". `--against` needs none of this.

The exit codes are those of `--against`. A baseline of another machine, software or setting is refused, and a run with a
slower case is never saved.
"""

import dataclasses
import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pytest_benchmark.storage.file import FileStorage
from pytest_benchmark.utils import safe_dumps
from scipy.special import stdtrit

from ...workload import workload_of
from ..environment.fingerprint import refusal
from ..environment.fingerprint_probe import take_fingerprint
from ..output.verdict_table import REFUSED, CaseVerdict, Findings, format_verdicts, write_json
from ..plugin import COLLECTED, CONCLUDED, rule_of
from ..stats.verdict import Rule, interval_of
from ..versions.git_versions import name_of

CHUNKS = 12  # of a run's samples, each with a median
FEWEST_RUNS = 3
Drift = dict[str, list[float]]  # the logarithm of a case's median time, in each calibration run
BASELINES = pytest.StashKey[list[dict[str, Any]]]()
CONCLUSION = pytest.StashKey[tuple[str, int, Findings]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("humor-bench gate")
    group.addoption(
        "--calibrate",
        type=int,
        metavar="N",
        help="run the unchanged code N times more, and keep how times drift between runs (5 or more tell something)",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    config.stash[BASELINES] = []
    config.option.benchmark_save_data = True  # verdicts are over samples, not over their medians


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> int | None:
    runs = config.getoption("--calibrate")
    if runs is None:
        return None
    config._do_configure()
    try:
        return calibrate(config, runs)
    finally:
        config._ensure_unconfigure()


def pytest_sessionstart(session: pytest.Session) -> None:
    keep_files_whole(session.config._benchmarksession)  # type: ignore[attr-defined]


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    machine_info["fingerprint"] = dataclasses.asdict(take_fingerprint(str(workload_of(config).device)))


@pytest.hookimpl(tryfirst=True)
def pytest_benchmark_compare_machine_info(
    config: pytest.Config, benchmarksession: Any, compared_benchmark: dict[str, Any]
) -> None:
    keep_files_whole(benchmarksession)
    config.stash[BASELINES].append(compared_benchmark)


@pytest.hookimpl(tryfirst=True, wrapper=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> Generator[None, Any, Any]:
    config = session.config
    benchmarks = config._benchmarksession  # type: ignore[attr-defined]
    if not benchmarks.compare or benchmarks.disabled or exitstatus == pytest.ExitCode.INTERRUPTED:
        return (yield)
    findings = compare_with_saved(config, benchmarks.benchmarks)
    if exitstatus == pytest.ExitCode.INTERNAL_ERROR:
        findings.failed["pytest"] = "an internal error, shown above"
    if session.testsfailed and not findings.failed:
        findings.failed["a benchmark"] = "see above"
    word, code = findings.conclusion(config.getoption("--allow-missing"), config.getoption("--allow-unclear"))
    if (code == REFUSED or word == "slower") and (benchmarks.save or benchmarks.autosave):
        findings.warnings.append("this run is not saved: what is slower, or was refused, becomes no baseline.")
        benchmarks.save = benchmarks.autosave = None
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


def compare_with_saved(config: pytest.Config, benchmarks: Sequence[Any]) -> Findings:
    """A verdict for every benchmark of this run that the last of the saved runs has."""
    findings = Findings()
    if not config.stash[BASELINES]:
        findings.refused = "no saved run can be read; save one with --benchmark-autosave, and compare with that."
        return findings
    baseline = config.stash[BASELINES][-1]
    here = take_fingerprint(str(workload_of(config).device))
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
            old, new = np.asarray(then[bench.fullname]), np.asarray(bench.stats.data)
            findings.results.append(saved_result(name, old, new, drift.get(bench.fullname, []), rule))
        else:
            findings.only_head.append(name)
    known = config.stash[COLLECTED]
    findings.only_base += [name_of(name) for name in then if name not in known]
    return findings


def saved_result(name: str, old: np.ndarray, new: np.ndarray, drift: Sequence[float], rule: Rule) -> CaseVerdict:
    """Two runs' samples of one case, with the drift between runs."""
    chunks = min(CHUNKS, len(old), len(new))
    ratios = [
        math.log(np.median(b) / np.median(a))
        for a, b in zip(np.array_split(old, chunks), np.array_split(new, chunks), strict=True)
    ]
    error = rule.error_rate / rule.cases / 2  # half of it for the samples, half for the drift
    moved = drift_of(drift, error)
    interval = interval_of(ratios, error).widened(moved)
    seconds = float(np.median(old)), float(np.median(new))
    return CaseVerdict(name, rule.verdict(interval), interval, [ratios], seconds)


def drift_of(log_medians: Sequence[float], error: float) -> float:
    """How far the log medians of two runs of the same code may lie apart; endless where it was not measured."""
    if len(log_medians) < FEWEST_RUNS:
        return math.inf
    factor = -float(stdtrit(len(log_medians) - 1, error / 2))
    return factor * math.sqrt(2) * float(np.std(log_medians, ddof=1))


def drift_file(config: pytest.Config) -> Path:
    """Where this machine's drift is kept, beside its saved runs."""
    storage = config._benchmarksession.storage  # type: ignore[attr-defined]
    return Path(storage.get("drift.json"))


def read_drift(file: Path, findings: Findings) -> Drift:
    """What `--calibrate` measured under these very conditions; nothing, and a warning, where it did not."""
    mend = "every verdict is unclear; pytest bench --calibrate 8 measures it, and --against needs no calibration."
    try:
        content = json.loads(file.read_text())
        kept: Drift = content["cases"]
        problem = refusal(content["fingerprint"], take_fingerprint(content["device"]))
    except FileNotFoundError:
        findings.warnings.append(f"runs apart in time see the machine's drift, which was not measured here: {mend}")
        return {}
    except (ValueError, KeyError, TypeError, OSError):
        findings.warnings.append(f"{file} is damaged, and the drift between runs is not known: {mend}")
        return {}
    if problem:
        findings.warnings.append(f"the drift between runs was measured elsewhere ({problem}): {mend}")
        return {}
    return kept


def calibrate(config: pytest.Config, runs: int) -> int:
    """Run the same benchmarks in fresh processes, and add each run's medians to what is kept."""
    if runs < 1:
        raise pytest.UsageError(f"--calibrate {runs}: give the number of runs, such as 8.")
    file, findings = drift_file(config), Findings()
    kept = read_drift(file, findings)
    device = str(workload_of(config).device)
    arguments = without_option(config.invocation_params.args, "--calibrate")
    for run in range(runs):
        print(f"calibration run {run + 1} of {runs}", flush=True)  # noqa: T201
        with tempfile.TemporaryDirectory() as folder:
            saved = Path(folder) / "run.json"
            command = [sys.executable, "-m", "pytest", *arguments, f"--benchmark-json={saved}", "-q", "--no-summary"]
            done = subprocess.run(command, cwd=config.invocation_params.dir, check=False, stdout=subprocess.DEVNULL)
            if done.returncode:
                return done.returncode
            benchmarks = json.loads(saved.read_text())["benchmarks"]
        for bench in benchmarks:
            kept.setdefault(bench["fullname"], []).append(math.log(bench["stats"]["median"]))
        fingerprint = dataclasses.asdict(take_fingerprint(device))
        document = {"kind": "drift", "device": device, "fingerprint": fingerprint, "cases": kept}
        write_json(file, document)  # after every run, so that an interrupted calibration keeps what it has
    print(f"wrote {file}")  # noqa: T201
    return 0


def without_option(arguments: Sequence[str], name: str) -> list[str]:
    """A command line without an option and its value."""
    kept, skip = [], False
    for argument in arguments:
        if skip or argument.startswith(f"{name}="):
            skip = False
        elif argument == name:
            skip = True
        else:
            kept.append(argument)
    return kept


def keep_files_whole(benchmarksession: Any) -> None:
    """Have pytest-benchmark save runs in one move."""
    if isinstance(benchmarksession.storage, FileStorage):
        benchmarksession.storage.__class__ = WholeFileStorage


class WholeFileStorage(FileStorage):
    """pytest-benchmark's folder of runs, whose files are whole or not there."""

    @property
    def location(self) -> str:
        """Where it is; pytest-benchmark's own fails outside the working directory."""
        return str(self.path)

    def save(self, output_json: Mapping[str, Any], save: str) -> None:
        """Write a run under the next number."""
        from humor.io.files import write_whole

        file = self.get(f"{self._next_num}_{save}.json")
        write_whole(file, safe_dumps(output_json, ensure_ascii=True, indent=4).encode())
        self.logger.info(f"Saved benchmark data in: {file}")
