"""pytest, started by a test: in a process of its own, or in this one where nothing is measured."""

import contextlib
import io
import os
import subprocess
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Without plugins that a benchmark does not need and that take a second to import.
OPTIONS = ("-p", "no:cacheprovider", "-p", "no:hypothesispytest", "--assert=plain")


def command(*arguments: str) -> list[str]:
    """`pytest` with arguments."""
    return [sys.executable, "-m", "pytest", *OPTIONS, *arguments]


def environment(folder: Path = ROOT, **changes: str) -> dict[str, str]:
    """Where only a folder's library is found, and no GPU."""
    fixed = {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1", "COLUMNS": "200", "CUDA_VISIBLE_DEVICES": ""}
    return os.environ | fixed | changes


def run(*arguments: str, folder: Path = ROOT, **changes: str) -> subprocess.CompletedProcess[str]:
    """Run pytest from a checkout, with changes of the environment; its exit code and what it printed."""
    return subprocess.run(
        command(*arguments),
        cwd=folder,
        env=environment(folder, **changes),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def run_here(*arguments: str, plugins: Sequence[object] = ()) -> subprocess.CompletedProcess[str]:
    """The same without another process, for what ends before anything is measured: humor's shapes are checked here."""
    out, errors = io.StringIO(), io.StringIO()
    options = [*OPTIONS, "-p", "no:faulthandler", "--capture=no", *arguments]
    with (
        contextlib.chdir(ROOT),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(errors),
        warnings.catch_warnings(record=True),
    ):
        warnings.resetwarnings()  # in a test they are errors
        code = pytest.main(options, plugins)
    return subprocess.CompletedProcess(options, int(code), out.getvalue(), errors.getvalue())
