"""A run is compared with one saved before: only under the same conditions, and with the machine's drift allowed for."""

import json
import math
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from pytest_benchmark.logger import Logger

from bench.harness.modes.calibrate import drift_of, without_option
from bench.harness.modes.compare_saved import commit_of, saved_result
from bench.harness.pytest_benchmark_adapter import WholeFileStorage
from bench.harness.stats.verdict import Rule
from bench.harness.versions.git_versions import GitRepository
from bench.project import PROJECT
from tests.support.pytest_process import ROOT, run, run_here

LIGHT = ["bench", "-k", "bench_linear and 1024-forward and fp32 and not backward and not wide", "-q"]
NAME = "bench/bench_linear.py::bench_linear[fp32-1024-forward]"
GONE = {"id": "0123456789" * 4, "dirty": False}  # else the commit would be measured anew
CALM = [-7.0, -7.001, -6.999, -7.0, -7.0005, -6.9995, -7.0, -7.0002]


def samples(seconds, seed, count=60):
    return seconds * np.exp(0.01 * np.random.default_rng(seed).standard_normal(count))


@pytest.mark.parametrize(
    ("ratio", "drift", "verdict"),
    [
        (1.0, CALM, "passes"),
        (1.2, CALM, "slower"),
        (0.8, CALM, "faster"),
        (1.2, [0.0, 0.1, -0.1, 0.05], "unclear"),  # less than two runs differ by chance
        (1.0, [0.0, 0.1, -0.1, 0.05], "unclear"),
        (1.2, [], "unclear"),  # never calibrated
        (1.0, CALM[:2], "unclear"),  # from too few runs
    ],
)
def test_a_verdict_over_saved_runs_allows_for_their_drift(ratio, drift, verdict):
    result = saved_result("case", samples(1e-3, 0), samples(ratio * 1e-3, 1), drift, Rule())
    assert result.verdict == verdict
    assert result.interval.low <= math.log(ratio) <= result.interval.high


def test_one_sample_of_a_slow_case_tells_nothing():
    assert saved_result("case", samples(1.0, 0, 1), samples(5.0, 1, 1), CALM, Rule()).verdict == "unclear"


def test_drift_is_a_prediction_of_two_runs_difference():
    chance = np.random.default_rng(0)
    missed = [
        abs(chance.normal() - chance.normal()) > drift_of(list(chance.normal(size=6)), error=0.1) for _ in range(2000)
    ]
    assert 0.07 < np.mean(missed) < 0.13


def test_calibrating_forgets_its_own_option():
    assert without_option(["bench", "--calibrate", "5", "-q"], "--calibrate") == ["bench", "-q"]
    assert without_option(["bench", "--calibrate=5", "-q"], "--calibrate") == ["bench", "-q"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A storage with one run, calibrated by hand as a machine that does not drift."""
    folder = tmp_path_factory.mktemp("storage")
    first = run_here(*LIGHT, f"--benchmark-storage=file://{folder}", "--benchmark-autosave")
    assert first.returncode == 0, first.stdout
    (file,) = folder.rglob("0001*.json")
    content = json.loads(file.read_text())
    drift = {"device": "cpu", "fingerprint": content["machine_info"]["fingerprint"], "cases": {NAME: CALM}}
    file.with_name("drift.json").write_text(json.dumps(drift))
    return folder, file, content


def against(saved, content, *arguments):
    """A run compared with a saved one that says what the test wants it to."""
    folder, file, _ = saved
    file.write_text(content if isinstance(content, str) else json.dumps(content | {"commit_info": GONE}))
    return run_here(*LIGHT, f"--benchmark-storage=file://{folder}", "--benchmark-compare=0001", *arguments)


def scaled(content, factor):
    changed = json.loads(json.dumps(content))
    for bench in changed["benchmarks"]:
        bench["stats"]["data"] = [factor * x for x in bench["stats"]["data"]]
    return changed


def test_a_slower_run_fails_and_is_never_saved(saved):
    folder, _, content = saved
    result = against(saved, scaled(content, 0.01), "--benchmark-autosave")
    assert result.returncode == 1, result.stdout
    assert "\nslower " in result.stdout
    assert "this run is not saved" in result.stdout
    assert len(list(folder.rglob("0*.json"))) == 1


def test_the_stock_rule_that_says_slower_takes_no_table_with_it(saved):
    content = json.loads(json.dumps(saved[2]))
    for bench in content["benchmarks"]:
        bench["stats"]["median"] /= 1000  # which is what the stock rule looks at; the samples are the same
    result = against(saved, scaled(content, 100), "--benchmark-compare-fail=median:5%")
    assert result.returncode == 1, result.stdout + result.stderr
    assert "Performance has regressed" in result.stderr
    assert "\nfaster " in result.stdout


def test_the_first_run_of_all_is_saved_for_the_next_to_be_compared_with(tmp_path):
    storage = [f"--benchmark-storage=file://{tmp_path}", "--benchmark-compare", "--benchmark-max-time=0.05"]
    result = run_here(*LIGHT, *storage, "--benchmark-autosave")
    assert result.returncode == 4, result.stdout + result.stderr
    sentence = "refused: no saved run can be read; this one is saved now, and the next is compared with it.\n"
    assert sentence in result.stdout
    assert "not saved" not in result.stdout
    (first,) = tmp_path.rglob("0*.json")
    assert first.name.startswith("0001_")


@pytest.mark.slow
def test_a_first_run_that_fails_becomes_no_baseline(tmp_path):
    class Fails:
        @pytest.hookimpl(trylast=True)
        def pytest_runtest_teardown(self):
            raise RuntimeError("planted")

    storage = [f"--benchmark-storage=file://{tmp_path}", "--benchmark-compare", "--benchmark-max-time=0.05"]
    result = run_here(*LIGHT, *storage, "--benchmark-autosave", plugins=[Fails()])
    assert result.returncode == 4, result.stdout + result.stderr
    assert "this one becomes none, as it failed; mend that and run it again.\n" in result.stdout
    assert list(tmp_path.rglob("0*.json")) == []


@pytest.mark.slow
def test_a_number_that_no_saved_run_has_is_said(saved):
    folder, file, content = saved
    file.write_text(json.dumps(content))
    options = [f"--benchmark-storage=file://{folder}", "--benchmark-compare=0007", "--benchmark-autosave"]
    result = run_here(*LIGHT, *options, "--benchmark-max-time=0.05")
    assert result.returncode == 4, result.stdout + result.stderr
    assert 'refused: no saved run is "0007"; give the number of one, or none for the last of them.\n' in result.stdout
    assert list(folder.rglob("0*.json")) == [file]


@pytest.mark.parametrize(
    ("commit_info", "why"),
    [
        ({"id": None}, "the saved run names no commit"),
        ({"id": "unversioned"}, "the saved run names no commit"),
        (
            {"id": "unknown", "error": "128"},
            "the saved run names no commit, as git did not answer then (128)",
        ),
        ({"id": GONE["id"]}, "the saved run's commit 0123456789 is not to be had here"),
    ],
)
def test_why_a_saved_commit_cannot_be_had_is_said(commit_info, why):
    assert commit_of({"commit_info": commit_info}, GitRepository(PROJECT)) == (None, why)


def test_a_git_that_does_not_answer_is_a_reason_of_its_own(tmp_path):
    commit, why = commit_of({"commit_info": GONE}, GitRepository(replace(PROJECT, root=tmp_path)))
    assert commit is None
    assert why.startswith(f"the saved run's commit 0123456789 is not to be had here ({tmp_path} is no git repository; ")


def test_the_change_is_that_of_the_two_columns():
    """Of times with two levels, of which the medians show one."""
    base, head = np.tile([1.0, 1.75, 3.0], 20), np.tile([0.8, 1.65, 1.7], 20)
    result = saved_result("case", np.sort(base), np.sort(head), CALM, Rule())
    assert result.seconds[1] / result.seconds[0] - 1 == pytest.approx(result.change.estimate)
    assert result.change.estimate < np.median(head) / np.median(base) - 1 - 0.1


def test_a_faster_run_passes(saved):
    result = against(saved, scaled(saved[2], 100))
    assert result.returncode == 0, result.stdout
    assert "\nfaster " in result.stdout


def with_other_torch(content):
    changed = json.loads(json.dumps(content))
    changed["machine_info"]["fingerprint"]["torch"] = "1.13.0"
    return changed


def without_cases(content):
    changed = json.loads(json.dumps(content))
    changed["benchmarks"][0]["fullname"] = "bench/bench_gone.py::bench_gone"
    return changed


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (with_other_torch, "refused: the baseline was measured with other software: PyTorch 1.13.0 then, "),
        (lambda content: "{", "refused: no saved run can be read; save one with --benchmark-autosave"),
        (without_cases, "refused: 2 cases could not be compared (bench_gone.py::bench_gone, "),
    ],
)
def test_what_cannot_be_compared_is_refused(saved, change, sentence):
    result = against(saved, change(saved[2]))
    assert result.returncode == 4, result.stdout
    assert sentence in result.stdout


@pytest.mark.parametrize(
    "hook",
    [pytest.param("pytest_runtest_logreport(report)", marks=pytest.mark.slow), "pytest_sessionfinish(session)"],
)
def test_an_internal_error_of_pytest_is_no_verdict(saved, tmp_path, hook):
    (tmp_path / "broken_plugin.py").write_text(f"def {hook}:\n    raise OSError('the disk is full')\n")
    folder, file, content = saved
    file.write_text(json.dumps(scaled(content, 100) | {"commit_info": GONE}))
    options = [f"--benchmark-storage=file://{folder}", "--benchmark-compare=0001", "-pbroken_plugin"]
    result = run(*LIGHT, *options, PYTHONPATH=str(tmp_path))
    assert result.returncode == 4, result.stdout + result.stderr


def test_what_is_missing_can_be_accepted_but_not_if_it_is_all(saved):
    result = against(saved, without_cases(saved[2]), "--allow-missing")
    assert result.returncode == 4
    assert "refused: nothing was measured" in result.stdout


WHY_NOT = (
    "the saved run's commit 0123456789 is not to be had here, so that it cannot be measured anew, and the drift "
    "between runs was not measured here; pytest bench --calibrate 8 makes saved samples comparable, --against REF "
    "needs none."
)


@pytest.mark.parametrize(
    ("gate", "variables", "code", "word"),
    [
        ([], {}, 0, "no verdict"),
        (["--benchmark-compare-fail=median:900%"], {}, 4, "refused"),
        ([], {"CI": "true"}, 4, "refused"),
    ],
    ids=["table alone", "gate", "CI"],
)
def test_without_a_calibration_there_is_no_verdict_and_a_refusal_only_of_a_gate(
    saved, monkeypatch, gate, variables, code, word
):
    _, file, content = saved
    monkeypatch.setenv("CI", "")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    drift = file.with_name("drift.json")
    text = drift.read_text()
    drift.unlink()
    try:
        result = against(saved, content, *gate)
    finally:
        drift.write_text(text)
    assert result.returncode == code, result.stdout
    assert f"\n{word}: {WHY_NOT}\n" in result.stdout
    assert "?" not in result.stdout.partition("against the saved run")[2]


@pytest.mark.slow
def test_calibrating_adds_a_run_to_what_is_kept(tmp_path):
    storage = f"--benchmark-storage=file://{tmp_path}"
    for runs in (1, 2):
        result = run_here(*LIGHT, storage, "--calibrate", "1", "--benchmark-max-time=0.05")
        assert result.returncode == 0, result.stdout + result.stderr
        (file,) = tmp_path.rglob("drift.json")
        assert len(json.loads(file.read_text())["cases"][NAME]) == runs


SAVER = """
import sys
from pathlib import Path
from bench.harness.pytest_benchmark_adapter import WholeFileStorage
from pytest_benchmark.logger import Logger
storage = WholeFileStorage(sys.argv[1], Logger(Logger.QUIET))
while True:
    storage.save({"benchmarks": [], "filler": ["x" * 100] * 20000}, "run")
"""


def test_a_run_killed_while_it_saves_leaves_whole_files_only(tmp_path):
    for delay in (0.003, 0.03):
        before = len(list(tmp_path.glob("*.json")))
        process = subprocess.Popen([sys.executable, "-c", SAVER, str(tmp_path)], cwd=ROOT)
        while len(list(tmp_path.glob("*.json"))) == before and process.poll() is None:
            time.sleep(0.01)  # the first is saved; kill it in one that follows
        time.sleep(delay)
        process.kill()
        process.wait()
    runs = list(WholeFileStorage(tmp_path, Logger(Logger.QUIET)).load())
    assert len(runs) == len(list(tmp_path.glob("*.json"))) > 0
    assert all(len(content["filler"]) == 20000 for _, content in runs)
