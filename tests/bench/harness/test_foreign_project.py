"""The harness measures a project that is not this one, where neither humor nor this suite can be imported."""

import ast
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support import pytest_process

ROOT = Path(__file__).parents[3]
HARNESS = ROOT / "bench" / "harness"
NAMES = [f"bench_smooth.py::bench_smooth[{case}]" for case in ("narrow", "wide")]
SOON = ["--slower-than", "90%", "--error-rate", "20%", "--max-time", "0.1"]  # a coarse rule, which needs few rounds


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A function that runs pytest in a repository of the foreign project, beside a copy of the harness alone."""
    folder = tmp_path_factory.mktemp("foreign")
    repository, blocked = folder / "waves", folder / "blocked"
    unwanted = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "tests" / "support" / "foreign_project", repository, ignore=unwanted)
    shutil.copytree(HARNESS, repository / "bench" / "harness", ignore=unwanted)
    shutil.copy(ROOT / "bench" / "__init__.py", repository / "bench")
    blocked.mkdir()
    (blocked / "humor.py").write_text("raise ModuleNotFoundError('humor is not here')\n")
    identity = ["-c", "user.name=A", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "waves"]):
        subprocess.run(["git", *identity, *command], cwd=repository, check=True)

    def pytest_bench(*arguments):
        found = f"{repository}{os.pathsep}{blocked}"
        return pytest_process.run("bench", *arguments, folder=repository, PYTHONPATH=found)

    return pytest_bench


def test_a_foreign_project_is_timed(run):
    done = run("--benchmark-max-time=0.05", "--samples", "1000", "--device", "cpu")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "waves: cpu, " in done.stdout
    assert "; samples: 1000" in done.stdout
    assert "2 passed" in done.stdout


def test_two_commits_of_a_foreign_project_are_compared(run):
    done = run("--against", "HEAD", "--measure-all", "--budget", "5s", "--allow-unclear", *SOON)
    assert done.returncode == 0, done.stdout + done.stderr
    assert all(name in done.stdout for name in NAMES)
    assert "each got its own processes" not in done.stdout


@pytest.mark.slow
def test_a_foreign_project_is_counted(run):
    accepted = run("--accept-counts")
    assert accepted.returncode == 0, accepted.stdout + accepted.stderr
    assert "counts of 2 cases accepted" in accepted.stdout
    equal = run("--counts")
    assert equal.returncode == 0, equal.stdout + equal.stderr
    assert "counts of 2 cases: all equal" in equal.stdout


def test_the_gate_tests_itself_on_a_foreign_project(run):
    done = run("--self-test", "--trials", "1", *SOON)
    assert done.returncode in (0, 1, 3), done.stdout + done.stderr  # by how busy this machine is
    assert all(f"{name}" in done.stdout for name in NAMES)
    assert "false alarms: " in done.stdout


@pytest.mark.parametrize("path", sorted(HARNESS.rglob("*.py")), ids=lambda path: str(path.relative_to(HARNESS)))
def test_the_harness_imports_nothing_of_the_suite_or_the_library(path):
    depth = len(path.relative_to(HARNESS).parts)  # of dots that stay within the harness
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            assert not {alias.name.partition(".")[0] for alias in node.names} & {"humor", "bench", "tests"}
        elif isinstance(node, ast.ImportFrom):
            assert node.level <= depth, ast.unparse(node)
            assert node.level or node.module.partition(".")[0] not in ("humor", "bench", "tests")
