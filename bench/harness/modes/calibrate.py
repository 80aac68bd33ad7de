"""`pytest bench --calibrate N`: how far runs of the same code at different times differ by machine drift."""

import dataclasses
import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy.special import stdtrit

from ..environment.fingerprint import refusal
from ..output.files import require_writable, write_json
from ..output.verdict_table import REFUSED
from ..pytest_benchmark_adapter import configured, file_beside_saved_runs
from ..session import device_of, fingerprint_of
from .mode import Mode

FEWEST_RUNS = 3
Drift = dict[str, list[float]]  # the logarithm of a case's median time, in each calibration run


class Calibrate(Mode):
    """Runs of the unchanged code, each in its own process, in place of a session."""

    flags = ("--calibrate",)

    @classmethod
    def add_options(cls, parser: pytest.Parser) -> None:
        parser.getgroup("bench gate").addoption(
            "--calibrate",
            type=int,
            metavar="N",
            help="for --benchmark-compare: run the unchanged code N times (5 or more), and keep how its times drift",
        )

    @classmethod
    def replace_session(cls, config: pytest.Config) -> int:
        with configured(config):
            return calibrate(config, config.getoption("--calibrate"))


def drift_of(log_medians: Sequence[float], error: float) -> float:
    """How far the log medians of two runs of the same code may lie apart; endless where it was not measured."""
    if len(log_medians) < FEWEST_RUNS:
        return math.inf
    factor = -float(stdtrit(len(log_medians) - 1, error / 2))
    return factor * math.sqrt(2) * float(np.std(log_medians, ddof=1))


def drift_file(config: pytest.Config) -> Path:
    """The file of this machine's drift, beside its saved runs."""
    return file_beside_saved_runs(config, "drift.json")


def read_drift(config: pytest.Config) -> tuple[Drift, str]:
    """What `--calibrate` measured under these very conditions; where it did not, nothing, and why."""
    file = drift_file(config)
    try:
        content = json.loads(file.read_text())
        drift: Drift = content["cases"]
        problem = refusal(content["fingerprint"], fingerprint_of(config, content["device"]))
    except FileNotFoundError:
        return {}, "the drift between runs was not measured here"
    except (ValueError, KeyError, TypeError, OSError):
        return {}, f"{file}, the drift between runs, is damaged"
    return ({}, f"the drift between runs was measured elsewhere ({problem})") if problem else (drift, "")


def calibrate(config: pytest.Config, runs: int) -> int:
    """Run the same benchmarks in fresh processes, and add each run's medians to the file."""
    if runs < 1:
        raise pytest.UsageError(f"--calibrate {runs}: give the number of runs, such as 8.")
    file = drift_file(config)
    require_writable("--calibrate", file)
    drift, _ = read_drift(config)
    arguments = without_option(config.invocation_params.args, "--calibrate")
    for run in range(runs):
        print(f"calibration run {run + 1} of {runs}", flush=True)  # noqa: T201
        with tempfile.TemporaryDirectory() as folder:
            saved = Path(folder) / "run.json"
            command = [sys.executable, "-m", "pytest", *arguments, f"--benchmark-json={saved}", "-q", "--no-summary"]
            done = subprocess.run(
                command, cwd=config.invocation_params.dir, check=False, stdout=subprocess.PIPE, text=True
            )
            if done.returncode or not saved.exists():
                print(done.stdout, end="")  # noqa: T201
                print(f"refused: calibration run {run + 1} failed, as shown above; mend that and run it again.")  # noqa: T201
                return REFUSED
            benchmarks = json.loads(saved.read_text())["benchmarks"]
        for bench in benchmarks:
            drift.setdefault(bench["fullname"], []).append(math.log(bench["stats"]["median"]))
        fingerprint = dataclasses.asdict(fingerprint_of(config))
        document = {"kind": "drift", "device": str(device_of(config)), "fingerprint": fingerprint, "cases": drift}
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
