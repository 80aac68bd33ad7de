"""Every mode runs, or is refused in a sentence: in a read-only checkout, with stray warnings, under -O, without git."""

import pytest

from tests.support.git_repository import Repository
from tests.support.pytest_process import run

WARNS = """
import warnings

import pytest


def pytest_configure():
    warnings.warn(pytest.PytestDeprecationWarning("an option of this plugin is not set"))
"""
LINEAR = ["-k", "bench_linear and 1024-forward and {} and not backward and not wide and not weights"]
SOON = ["--benchmark-max-time=0.05", "--trials=1", "--max-time=0", "--slower-than=90%", "--error-rate=20%"]
NO_SAVED_RUN = "refused: no saved run can be read; save one with --benchmark-autosave, then compare."
MODES = [
    # mode, precision, exit codes, what is said
    ("", "fp32", (0,), "Median"),
    ("--counts", "fp32", (0,), "counts of 1 cases: all equal"),
    ("--compare-precisions", "bf16", (0, 1), "speed-up"),
    ("--self-test", "fp32", (0, 1, 3), "false alarms: "),
    ("--predict cpu", "fp32", (0,), "predicted, not measured"),
    ("--calibrate 1", "fp32", (4,), "cannot be written"),
    ("--benchmark-autosave", "fp32", (4,), "cannot be written"),
    ("--benchmark-compare", "fp32", (4,), NO_SAVED_RUN),
    ("--against HEAD", "fp32", (4,), "is no git repository; clone it with git"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "precision", "codes", "said"), MODES, ids=[mode or "plain" for mode, *_ in MODES])
def test_a_mode_in_a_read_only_checkout_without_git_under_o_beside_a_plugin_that_warns(
    mode, precision, codes, said, tmp_path
):
    (tmp_path / "warns_at_configure.py").write_text(WARNS)
    (tmp_path / "file").touch()  # below which nothing can be written, not by root either
    choice = [part.format(precision) for part in LINEAR]
    nowhere = ["-o", f"cache_dir={tmp_path}/file", f"--benchmark-storage=file://{tmp_path}/file/runs"]
    plugins = ["-p", "warns_at_configure", "-p", "cacheprovider"]
    options = ["bench", *choice, *SOON, *nowhere, *plugins, *mode.split()]
    result = run(*options, PYTHONOPTIMIZE="1", GIT_DIR=str(tmp_path / "gone"), PYTHONPATH=str(tmp_path), CI="")
    assert result.returncode in codes, result.stdout + result.stderr
    assert said in result.stdout + result.stderr
    assert "INTERNALERROR" not in result.stdout + result.stderr


@pytest.mark.slow
def test_two_versions_are_compared_in_a_read_only_checkout_under_o_beside_a_plugin_that_warns(tmp_path):
    repository = Repository(tmp_path)
    repository.write("warns_at_configure.py", WARNS)
    repository.replace("humor/kinematics.py", '    """', '    """Anew. ')
    repository.replace("humor/kinematics.py", "import torch\n", "import torch\n\nUNUSED = 1\n")
    nowhere = ["-o", "cache_dir=pyproject.toml", "--benchmark-storage=file://pyproject.toml/runs"]
    options = ["--against", "whole", *SOON, "--budget=20s", *nowhere, "-p", "warns_at_configure", "-p", "cacheprovider"]
    result = run("bench", *options, folder=tmp_path, PYTHONOPTIMIZE="1")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "bench_tiny.py::bench_place[study]" in result.stdout
