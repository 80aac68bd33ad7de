"""Each version in its own process: `python -m bench.harness.versions.worker` builds and times what it is asked to.

A message is a line of JSON either way. Only one process works at a time; the others wait for their next line.
"""

import importlib
import json
import os
import random
import re
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from ..case import BenchmarkId
from ..project import Project
from ..timing.pairing import Builder, Timed, TimedCall
from .loaded_version import LoadedVersion


class WorkerError(Exception):
    """What a worker could not do, in one sentence."""


# Prints a word, so that a program that is no Python does not pass for one.
IMPORT_ALL = "import importlib, sys; [importlib.import_module(name) for name in sys.argv[1:]]; print('imported')"
PROBE_SECONDS = 300  # a first import of PyTorch from a disk that is slow


def check_python(python: str, project: Project) -> None:
    """Raise WorkerError with a sentence where a program is no Python that a worker can run in."""
    command = [python, "-c", IMPORT_ALL, "torch", __name__]
    try:
        done = subprocess.run(
            command, cwd=project.root, capture_output=True, text=True, timeout=PROBE_SECONDS, check=False
        )
    except FileNotFoundError:
        raise WorkerError("no such program; give the path of a Python.") from None
    except subprocess.TimeoutExpired:
        raise WorkerError(f"it did not import PyTorch within {PROBE_SECONDS} s; give another Python.") from None
    except OSError as error:
        raise WorkerError(f"it cannot be run ({error.strerror}); give the path of a Python.") from None
    if done.stdout.strip().endswith("imported"):
        return
    last = (done.stderr.strip().splitlines() or ["it is no Python"])[-1]
    if lacking := re.match(r"ModuleNotFoundError: No module named '([\w.]+)'", last):
        package = "PyTorch" if lacking[1] == "torch" else lacking[1]
        raise WorkerError(f"it has no {package}; install that for it, or give another Python.")
    raise WorkerError(f"it cannot run the base ({last}); give another Python.")


class Worker:
    """A process with one version."""

    def __init__(
        self, project: Project, python: str, tree: Path | None, options: Mapping[str, Any], threads: int | None
    ) -> None:
        job = {"project": project.module, "tree": tree and str(tree), "options": options, "threads": threads}
        self._process = subprocess.Popen(
            [python, "-m", __name__, json.dumps(job, default=str)],
            cwd=project.root,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()

    def ask(self, **message: Any) -> Any:
        """Send a message and wait for what comes back. Raises WorkerError."""
        to, back = self._process.stdin, self._process.stdout
        assert to is not None
        assert back is not None
        try:
            print(json.dumps(message), file=to, flush=True)
            answer = json.loads(back.readline() or '{"error": "its process ended"}')
        except BrokenPipeError:
            answer = {"error": "its process ended"}
        if "error" in answer:
            raise WorkerError(answer["error"])
        return answer["result"]

    def build(self, benchmark: BenchmarkId) -> Timed:
        """The benchmark, built over there."""
        self.ask(build=asdict(benchmark))
        return RemoteCall(self)


@dataclass
class RemoteCall:
    """What a worker built last."""

    worker: Worker

    def seconds(self, calls: int) -> float:
        """How long so many calls take, by the worker's clock."""
        return float(self.worker.ask(calls=calls))


class Launches:
    """Pairs of processes, launched when first needed and kept for the cases that follow."""

    def __init__(
        self,
        project: Project,
        pythons: tuple[str, str],  # of the base and the head version
        tree: Path,
        options: Mapping[str, Any],
        threads: int | None,
        most: int,
        chance: random.Random,
    ) -> None:
        self._project = project
        self._versions = [(pythons[0], tree), (pythons[1], None)]
        self._rest = (options, threads)
        self._most, self._chance = most, chance
        self._pairs: list[list[Worker]] = []
        self._resources = ExitStack()

    def __enter__(self) -> "Launches":
        return self

    def __exit__(self, *_: object) -> None:
        self._resources.close()

    def __call__(self, index: int, benchmark: BenchmarkId) -> tuple[Builder, Builder] | None:
        """The builders of one pair of processes, base and head; None after the last."""
        if index >= self._most:
            return None
        while len(self._pairs) <= index:
            self._launch()
        base, head = self._pairs[index]
        return lambda: base.build(benchmark), lambda: head.build(benchmark)

    def _launch(self) -> None:
        workers: dict[int, Worker] = {}
        for which in (0, 1) if self._chance.random() < 0.5 else (1, 0):
            workers[which] = self._resources.enter_context(Worker(self._project, *self._versions[which], *self._rest))
        self._pairs.append([workers[0], workers[1]])


def serve(job: Mapping[str, Any], messages: IO[str], answers: IO[str]) -> None:
    """Do what the lines say until there are no more."""
    from ..timing.clock import clock_of
    from ..timing.quiet import quiet

    importlib.import_module(job["project"].rpartition(".")[0])  # the suite is the working tree's, whatever follows
    if job["tree"]:
        sys.path.insert(0, job["tree"])  # nothing has imported the library yet, so that it needs no other name here
    try:
        version = LoadedVersion(importlib.import_module(job["project"]).PROJECT, job["options"])
        clock = clock_of(version.device)
    except Exception as error:  # whatever the library raises when it is imported: the answer to every message
        for _ in messages:
            print(json.dumps({"error": f"{type(error).__name__}: {error}"}), file=answers, flush=True)
        return
    with quiet(job["threads"]):
        built: Timed | None = None
        for line in messages:
            message = json.loads(line)
            try:
                if "build" in message:
                    built = None  # the last one's memory first
                    built, result = TimedCall(version.build(BenchmarkId(**message["build"])).call, clock), None
                else:
                    assert built is not None
                    result = built.seconds(message["calls"])
                answer: dict[str, Any] = {"result": result}
            except Exception as error:
                answer = {"error": f"{type(error).__name__}: {error}"}
            print(json.dumps(answer), file=answers, flush=True)


def main() -> None:
    """Serve the process that started this one; what a library prints goes to its errors."""
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)
        serve(json.loads(sys.argv[1]), sys.stdin, answers)


if __name__ == "__main__":
    main()
