"""What each case enters, recorded once for a version in a process that begins before the version is imported.

`python -m bench.harness.untouched.traces` is that process: it reads one job from its standard input, imports the
version, forks for each case, and writes a line of JSON for each. Traces are kept beside the saved runs, under a digest
of all that they depend on.
"""

import fcntl
import gc
import hashlib
import importlib
import importlib.metadata
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from ..case import BenchmarkId
from ..environment.fingerprint_probe import allowed_cpus, take_fingerprint
from ..output.files import write_whole
from ..project import Project
from ..versions.git_versions import VersionError
from ..versions.loaded_version import LoadedVersion
from .call_trace import CallTrace
from .source_index import HARNESS, SourceIndex, Unit


@dataclass
class Traces:
    """The units that cases enter, in order, and those that every case depends on."""

    entered: dict[str, list[Unit]] = field(default_factory=dict)  # by case, while it is built and called
    called: dict[str, list[Unit]] = field(default_factory=dict)  # of them, those of its calls
    digests: dict[str, str] = field(default_factory=dict)  # of what its calls are given; empty where unknown
    shared: list[Unit] = field(default_factory=list)  # while the version is imported, and the workload is made
    seconds: dict[str, float] = field(default_factory=dict)  # that a call is expected to take, by case
    failed: dict[str, str] = field(default_factory=dict)  # cases that this version cannot run, and why

    @property
    def units(self) -> set[Unit]:
        """Everything that any case enters."""
        return {*self.shared, *(unit for units in self.entered.values() for unit in units)}


@dataclass(frozen=True)
class TraceJob:
    """A version, and how its benchmarks are run."""

    project: Project
    tree: Path
    options: Mapping[str, Any]  # the values of the project's workload_options
    device: str

    def key(self, index: SourceIndex) -> str:
        """A name for all that traces depend on: the version's source, the suite, packages, machine and options."""
        suite = SourceIndex.of(self.project.root, [self.project.suite])
        options = {name: str(value) for name, value in self.options.items()}
        here = take_fingerprint(self.device)
        packages = sorted(f"{each.name} {each.version}" for each in importlib.metadata.distributions())
        parts = [index.digest, suite.digest, options, self.device, here.device, here.cpu, sys.version, packages]
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:24]


def load_traces(
    job: TraceJob,
    index: SourceIndex,
    cases: Mapping[str, BenchmarkId],
    folder: Path,
    progress: Callable[[int, int], None],
) -> Traces:
    """The traces of a version's cases: those that are kept, and the others recorded and kept now.

    Raises VersionError where the version cannot be loaded at all.
    """
    file = folder / f"{job.key(index)}.json"
    traces = read_traces(file)
    missing = {name: case for name, case in cases.items() if name not in traces.entered}
    if missing:
        try:
            _record(job, missing, traces, progress)
        finally:
            with suppress(OSError):  # a folder that cannot be written costs tracing again
                _write(file, traces)  # those that are recorded are kept, whatever ends this
    return traces


def read_traces(file: Path) -> Traces:
    """The traces in a file; none where it is not there or is damaged."""
    try:
        content = json.loads(file.read_text())
        units = [(module, function) for module, function in content["units"]]
        entered, called = (
            {name: [units[number] for number in numbers] for name, numbers in content[kind].items()}
            for kind in ("entered", "called")
        )
        seconds = {name: float(content["seconds"][name]) for name in entered}
        shared = [units[number] for number in content["shared"]]
        return Traces(entered, called, {name: str(content["digests"][name]) for name in entered}, shared, seconds)
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError):
        return Traces()


def _write(file: Path, traces: Traces) -> None:
    numbers = {unit: number for number, unit in enumerate(sorted(traces.units))}
    content = {
        "units": list(numbers),
        "entered": {name: [numbers[unit] for unit in units] for name, units in traces.entered.items()},
        "called": {name: [numbers[unit] for unit in units] for name, units in traces.called.items()},
        "digests": traces.digests,
        "shared": [numbers[unit] for unit in traces.shared],
        "seconds": traces.seconds,
    }
    write_whole(file, json.dumps(content).encode())


def _record(
    job: TraceJob, cases: Mapping[str, BenchmarkId], traces: Traces, progress: Callable[[int, int], None]
) -> None:
    """Trace cases in a process, and add what it says."""
    message = {
        "project": job.project.module,
        "tree": str(job.tree),
        "options": job.options,
        "device": job.device,
        "cases": {name: asdict(case) for name, case in cases.items()},
    }
    process = subprocess.Popen(
        [sys.executable, "-m", __name__],
        cwd=job.project.root,
        # One thread, because a fork loses the others; and no CUDA in this process, because a fork does not survive it.
        env=os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTORCH_NVML_BASED_CUDA_CHECK": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(json.dumps(message, default=str))
        process.stdin.close()
        for line in process.stdout:
            _take(json.loads(line), traces)
            progress(len(cases.keys() & (traces.entered.keys() | traces.failed.keys())), len(cases))
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # and the case that it forked for
        process.wait()
        process.stdout.close()
    for name in cases.keys() - traces.entered.keys() - traces.failed.keys():
        traces.failed[name] = "its process ended"


def _take(found: Mapping[str, Any], traces: Traces) -> None:
    """Note a line of the process."""
    if "error" in found:
        raise VersionError(found["error"])
    if "shared" in found:
        traces.shared = list(dict.fromkeys([*traces.shared, *map(tuple, found["shared"])]))
        return
    name = found["case"]
    if found["failed"] is not None:
        traces.failed[name] = found["failed"]
        return
    traces.called[name] = [(module, function) for module, function in found["called"]]
    built = [(module, function) for module, function in found["built"]]
    traces.entered[name] = list(dict.fromkeys([*built, *traces.called[name]]))
    traces.digests[name], traces.seconds[name] = found["digest"], found["seconds"]


def trace_cases(job: Mapping[str, Any], answers: IO[str]) -> None:
    """Say what importing the version enters; then build and call each case in a fork, and say what it enters.

    A fork begins where the import ended, with no result of another case: whatever is made once and kept, in a table,
    an attribute or an object that cases share, is made again by every case that needs it.
    """
    import torch

    from ..counters import operators  # noqa: F401
    from . import input_digest  # noqa: F401  before forking, so that it and what it imports is imported once

    torch.set_num_threads(1)
    suite, _, _ = job["project"].rpartition(".")
    tree = Path(job["tree"])
    importlib.import_module(suite)  # the working tree's
    sys.path.insert(0, str(tree))
    project: Project = importlib.import_module(job["project"]).PROJECT
    index = SourceIndex.of(tree, [project.library])
    suite_modules = SourceIndex.of(project.root, [project.suite]).modules
    index.modules |= {name: source for name, source in suite_modules.items() if not name.startswith(HARNESS)}
    folders = {project.library: tree / project.library, project.suite: project.root / project.suite}
    # Compiled regions run as they are written, and backward passes in this thread, where they are seen.
    eager = torch.compiler.set_stance("force_eager"), torch.autograd.set_multithreading_enabled(False)
    with tempfile.TemporaryFile() as lock, eager[0], eager[1], CallTrace(folders, index) as trace:
        version = LoadedVersion(project, job["options"])
        if job["device"] == "cpu":  # the workload takes seconds to make; one on a GPU would not survive a fork
            for make in (project.fixtures or {"": lambda workload: workload}).values():
                make(version.workload)
        _say({"shared": trace.take()}, answers)
        gc.freeze()  # a collection in a fork would copy the pages of all that it shares
        at_once = len(allowed_cpus()) if job["device"] == "cpu" else 1
        for number, (name, case) in enumerate(job["cases"].items()):
            if number >= at_once:
                os.wait()
            if os.fork() == 0:
                try:
                    found = {"case": name, **_trace_case(version, BenchmarkId(**case), trace)}
                    fcntl.lockf(lock, fcntl.LOCK_EX)  # until this process ends
                    _say(found, answers)
                finally:
                    os._exit(0)
        with suppress(ChildProcessError):
            while True:
                os.wait()


def _trace_case(version: LoadedVersion, case: BenchmarkId, trace: CallTrace) -> dict[str, Any]:
    """What one case enters while it is built and called twice, or why it does not run."""
    from .input_digest import digest_inputs

    try:
        call = version.build(case).call
        built = trace.take()
        digest = digest_inputs(call)
        call()
        seconds = _expected_seconds(call)
    except BaseException as error:  # pytest's skip, too
        return {"failed": f"{type(error).__name__}: {error}"}
    return {"built": built, "called": trace.take(), "digest": digest, "seconds": seconds, "failed": None}


def _say(found: Mapping[str, Any], answers: IO[str]) -> None:
    print(json.dumps(found), file=answers, flush=True)


def _expected_seconds(call: Callable[[], Any]) -> float:
    """How many seconds a call is expected to take, from its operators, so that several machines divide cases alike."""
    from ..counters.operators import count_work

    work = count_work(call)
    return 1e-5 * work.operators + work.flops / 3e10 + work.bytes / 5e9


def main() -> None:
    """Trace what standard input asks for; what a library prints goes to its errors."""
    job = json.load(sys.stdin)
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)
        try:
            trace_cases(job, answers)
        except Exception as error:
            _say({"error": f"{type(error).__name__}: {error}"}, answers)


if __name__ == "__main__":
    main()
