"""A git repository with this tree's library and a suite of one tiny benchmark, so that a comparison takes no time."""

import shutil
import subprocess
from pathlib import Path

from . import pytest_process
from .planting import plant

ROOT = pytest_process.ROOT
TINY = '''"""One small call of the library."""

import pytest
import torch

from humor import kinematics
from humor.skeleton import SMPLH

from .cases import Windows

CASES = {"study": Windows(2)}


@pytest.mark.parametrize("case", CASES.items(), ids=CASES.keys())
def bench_place(case, device, measure):
    rotmats = torch.eye(3, device=device).expand(20, len(SMPLH), 3, 3).contiguous()
    offsets = torch.ones(3, len(SMPLH), 20, device=device)
    measure(lambda: kinematics.place_joints(rotmats, offsets, SMPLH), "tiny")
'''

# A time that no machine disturbs: without it, a rule with an error rate calls unchanged code faster at that rate.
COUNTED_TIME = '''"""A call takes a millisecond for each operator that it runs; every other build of it, 1 % more."""

import itertools

from bench.harness.counters.operators import OperatorCounter
from bench.harness.timing.pairing import TimedCall

builds = itertools.count()


def seconds(timed, calls):
    if not hasattr(timed, "counted"):
        with OperatorCounter() as counter:
            timed.call()
        timed.counted = counter.kernels / 1000 * (1.01 if next(builds) % 2 else 1)
    for _ in range(calls):
        timed.call()
    return calls * timed.counted


TimedCall.seconds = seconds
'''


class Repository:
    """Its working tree in a folder, committed once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("humor", "bench"):
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "bench_*.py"))
        for name in ("conftest.py", "pyproject.toml", ".gitignore"):
            shutil.copy(ROOT / name, folder)
        self.write("bench/bench_tiny.py", TINY)
        self.write("counted_time.py", COUNTED_TIME)  # for `-p counted_time`
        self.git("init", "-q", "-b", "main")
        self.commit("whole", tag="whole")

    def write(self, path: str, text: str) -> None:
        (self.folder / path).write_text(text)

    def append(self, path: str, text: str) -> None:
        with (self.folder / path).open("a") as file:
            file.write(text)

    def replace(self, path: str, old: str, new: str) -> None:
        """Replace the first occurrence of a text in a file, which must be there."""
        text = (self.folder / path).read_text()
        assert old in text, f"{path} has no {old!r}"
        self.write(path, text.replace(old, new, 1))

    def slow_down(self) -> None:
        """Make the benchmark's call take fifty times as long."""
        plant(self.folder / "humor/kinematics.py", "place_joints", "for _ in range(49):", "    inner(*given, **named)")

    def git(self, *arguments: str) -> str:
        """What git says. Raises CalledProcessError."""
        author = ["-c", "user.name=A", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
        command = ["git", "-C", str(self.folder), *author, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def commit(self, message: str, tag: str) -> str:
        """Commit everything."""
        self.git("add", "-A")
        self.git("commit", "-q", "-m", message)
        self.git("tag", "-f", tag)
        return self.git("rev-parse", "HEAD")

    def restore(self) -> None:
        """The first commit's files, and no others."""
        self.git("checkout", "-q", "-f", "--detach", "whole")
        self.git("clean", "-q", "-f", "-d")

    def pytest(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run pytest in it."""
        return pytest_process.run("-q", *arguments, folder=self.folder)
