"""The workflow's own steps, on pull requests of a repository made for it: good ones pass, slow ones do not."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.harness.output.markdown import MARKER
from tests.support.planting import plant
from tests.support.pytest_process import OPTIONS, ROOT

CASE = "bench_linear.py::bench_linear[fp32-1024-forward]"
# One small case on the CPU. What is rehearsed is who is stopped, so the change is twelvefold and clear on any machine.
CHOICE = (
    "-k 'bench_linear and 1024-forward and fp32 and not backward' --device=cpu --slower-than=90% --error-rate=0.1% "
)
PRESETS = "humor/precision/presets.py"


def git(folder, *arguments):
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.com", "-c", "core.hooksPath="]
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True, timeout=60)


def change(repository):
    """A commit of a comment, and of what was planted."""
    with (repository / PRESETS).open("a") as file:
        file.write("\n# A comment.\n")
    git(repository, "commit", "-qam", "Change")


@pytest.fixture(scope="module")
def pulls(tmp_path_factory):
    """A repository with main and, for each pull request, the merge that GitHub checks out."""
    repository = tmp_path_factory.mktemp("repository")
    for name in ("humor", "bench"):
        shutil.copytree(ROOT / name, repository / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("conftest.py", "pyproject.toml", ".gitignore"):
        shutil.copy(ROOT / name, repository)
    git(repository, "init", "-q", "-b", "main")
    git(repository, "add", "--all")
    git(repository, "commit", "-qm", "Begin")
    git(repository, "checkout", "-qb", "good")
    change(repository)
    git(repository, "checkout", "-qb", "slow", "main")
    plant(repository / PRESETS, "Precision.autocast_scope", "torch.ones(1024, 1024) @ torch.ones(1024, 1024)")
    change(repository)
    change(repository)  # and a good one on top
    for name in ("good", "slow"):
        git(repository, "checkout", "-qb", f"{name}-merged", "main")
        git(repository, "merge", "-q", "--no-ff", "--no-edit", name)
    return repository


@dataclass(frozen=True)
class Run:
    """What a pull request's author sees."""

    code: int
    log: str
    verdicts: dict
    summary: str


def steps(pull, folder):
    """Check a pull request out as the workflow does, and take its steps of measuring and of the summary."""
    workflow = (ROOT / ".github/workflows/benchmarks.yml").read_text()
    job = workflow.partition("\n  measure:\n")[2].partition("\n  comment:\n")[0]
    measure = re.search(r"- name: Measure\n +run: (.*)", job)[1]
    summarize = re.search(r"- name: Summarize\n +if: .*\n +run: (.*)", job)[1]
    assert "--require-cuda" in measure  # all that a machine without a GPU has to leave out
    measure = measure.replace(" --require-cuda", "")
    depth = re.search(r"fetch-depth: (\d+)", job)[1]
    checkout = folder / "checkout"
    git(
        folder,
        "clone",
        "-q",
        "--depth",
        depth,
        "--branch",
        f"{pull.name}-merged",
        f"file://{pull.parent}",
        str(checkout),
    )
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    own = {"PATH": path, "RUNNER_TEMP": str(folder), "GITHUB_STEP_SUMMARY": str(folder / "summary.md")}
    own |= {"ALONE": "", "PYTEST_ADDOPTS": CHOICE + " ".join(OPTIONS), "PYTHONPATH": ""}

    def shell(command):
        command = ["bash", "-eo", "pipefail", "-c", command]
        return subprocess.run(command, cwd=checkout, env=os.environ | own, capture_output=True, text=True, timeout=300)

    return lambda: shell(measure), lambda: shell(summarize)


def rehearse(pull, folder):
    """Both steps, one after the other as the runner does: the second whatever the first said."""
    measure, summarize = steps(pull, folder)
    measured, summarized = measure(), summarize()
    assert summarized.returncode == 0, measured.stdout + measured.stderr + summarized.stderr
    verdicts = json.loads((folder / "verdicts.json").read_text())
    return Run(measured.returncode, measured.stdout, verdicts, (folder / "summary.md").read_text(encoding="utf-8"))


def test_a_good_pull_request_passes(pulls, tmp_path):
    run = rehearse(pulls / "good", tmp_path)
    assert (run.code, run.verdicts["verdict"]) == (0, "untouched"), run.log
    assert run.summary.startswith(f"{MARKER}\n### untouched: 1 untouched\n")
    assert run.verdicts["versions"]["head"]["dirty"] is False


@pytest.mark.parametrize("attempt", ["first", pytest.param("again", marks=pytest.mark.slow)])
def test_a_slow_pull_request_fails_however_often_it_is_run_again(pulls, tmp_path, attempt):
    """And although its last commit changes no time: it is compared with what it is merged into."""
    run = rehearse(pulls / "slow", tmp_path)
    assert (run.code, run.verdicts["verdict"]) == (1, "slower"), run.log
    assert run.summary.startswith(f"{MARKER}\n### slower: 1 slower\n")
    assert f"| **slower** | `{CASE}` | " in run.summary


def test_a_run_that_dies_has_no_verdict_and_says_so(pulls, tmp_path):
    _, summarize = steps(pulls / "good", tmp_path)
    summarized = summarize()
    assert summarized.returncode == 1
    assert "### refused: no verdict" in (tmp_path / "summary.md").read_text(encoding="utf-8")
