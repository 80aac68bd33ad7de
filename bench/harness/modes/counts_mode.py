"""`pytest bench --counts`: what every case does, counted and compared exactly with the accepted counts.

No clock takes part, so the gate says the same on every machine with the same PyTorch. A call runs once to warm up, and
is counted in the runs after it. On CUDA kernel launches and waits are printed instead, and compared with nothing.

Exit codes: 0 equal; 1 a number changed, up or down; 4 refused, with a sentence that says why.
"""

import warnings
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ..case import BenchmarkCase
from ..counters.counts_file import (
    CountsError,
    CountsFile,
    describe_changes,
    describe_unmatched,
    merge_counts,
    read_counts,
    torch_version,
    write_counts,
)
from ..output.verdict_table import REFUSED
from ..session import COLLECTED, device_of, project_of, workload_options
from ..versions.loaded_version import LoadedVersion
from .mode import Mode

EQUAL, CHANGED = 0, 1  # exit codes, beside REFUSED
FINISHED = (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED)
Key = tuple[str, str]  # a benchmark's file and name: ("bench_linear", "bench_linear[fp32-1024-forward]")


@dataclass
class Tally:
    """The counts of a run, and the folder of those that were accepted."""

    folder: Path
    accept: bool
    chosen: set[Key] = field(default_factory=set)  # to be counted
    known: dict[str, set[str] | None] = field(default_factory=dict)  # each file's cases; None: only some were looked at
    counts: dict[str, CountsFile] = field(default_factory=dict)
    on_device: dict[Key, Counter[str]] = field(default_factory=dict)  # on CUDA
    lines: list[str] = field(default_factory=list)  # to be printed

    def before(self, file: str) -> CountsFile:
        """The accepted counts of a file: none, or another PyTorch's, only where they are to be replaced."""
        path = self.folder / f"{file}.json"
        if self.accept:
            return read_counts(path) if path.exists() else CountsFile(torch_here())
        return read_counts(path, torch_here())

    def conclude(self, failed: bool) -> int:
        """Compare, or write if that is asked for. Raises CountsError where either would hide something."""
        counted = {(file, case) for file, counts in self.counts.items() for case in counts.cases}
        counted |= self.on_device.keys()
        lacking = sorted(case for _, case in self.chosen - counted)
        if failed or lacking:
            which = ", ".join(lacking) or "a benchmark"
            raise CountsError(f"{which} failed or was skipped, as shown above; fix that and run again.")
        if not counted:
            raise CountsError("nothing was counted; choose benchmarks that are counted, as pytest bench --counts does.")
        before = {file: self.before(file) for file in sorted(self.counts)}
        changed = [line for file, old in before.items() for line in describe_changes(old, self.counts[file])]
        odd = [
            line
            for file, old in before.items()
            for line in describe_unmatched(old, self.counts[file], self.known[file])
        ]
        orphans = [path for path in sorted(self.folder.glob("*.json")) if not self._is_benchmark(path.stem)]
        odd += [f"{path.stem}: has counts, but is no benchmark any more" for path in orphans]
        self.lines += changed + odd
        if self.accept:
            self._accept(before, orphans)
            self.lines.append(f"counts of {len(counted)} cases accepted")
            return EQUAL
        if odd:
            raise CountsError("some cases cannot be compared; if that is meant, run pytest bench --accept-counts.")
        if changed:
            again = "if that is meant, run pytest bench --accept-counts and commit the files."
            self.lines.append(f"counts changed; {again}")
            return CHANGED
        self.lines.append(f"counts of {len(counted)} cases: all equal" if self.counts else "on a device: not compared")
        return EQUAL

    def _is_benchmark(self, file: str) -> bool:
        return (self.folder.parent / f"{file}.py").exists()

    def _accept(self, before: dict[str, CountsFile], orphans: Sequence[Path]) -> None:
        merged = {file: merge_counts(old, self.counts[file], self.known[file]) for file, old in before.items()}
        for file, counts in merged.items():  # all of them, or none
            write_counts(self.folder / f"{file}.json", counts)
        for path in orphans:
            path.unlink()


class CountsMode(Mode):
    """The counts of a run's cases."""

    flags = ("--counts", "--accept-counts")

    @classmethod
    def add_options(cls, parser: pytest.Parser) -> None:
        group = parser.getgroup("bench counts", "benchmarks: what is done, counted without a clock")
        group.addoption(
            "--counts", action="store_true", help="count what each case does and compare with what is accepted"
        )
        group.addoption("--accept-counts", action="store_true", help="count the same, and accept what changed")

    def __init__(self, config: pytest.Config) -> None:
        super().__init__(config)
        self.project = project_of(config)
        for name in (*self.project.not_with_counts, "--full"):
            if config.getoption(name):
                raise pytest.UsageError(f"--counts counts what every clone has and a CPU does soon; leave {name} out.")
        self.tally = Tally(self.project.counts_folder, config.getoption("--accept-counts"))
        if config.option.device is None and not config.option.require_cuda:
            config.option.device = "cpu"

    def left_out(self, case: BenchmarkCase) -> str | None:
        if "sleeps" in case.markers:
            return "not counted: it sleeps, and works in threads"
        return self.project.not_counted(case)

    def start(self, cases: Sequence[BenchmarkCase]) -> None:
        self.version = LoadedVersion(self.project, workload_options(self.config))
        tally, some = self.tally, any("::" in argument for argument in self.config.args)
        keys = {key_of(node) for node in self.config.stash.get(COLLECTED, set())}
        tally.known = {of: None if some else {case for file, case in keys if file == of} for of, _ in keys}
        tally.chosen = {key_of(case.nodeid) for case in cases}
        if device_of(self.config).type == "cpu":
            try:
                for file in sorted({file for file, _ in tally.chosen}):
                    tally.before(file)
            except CountsError as error:  # before anything is run
                raise pytest.UsageError(str(error)) from None
        elif tally.accept:
            raise pytest.UsageError(
                "--accept-counts is for a CPU, where counts are the same everywhere; add --device cpu."
            )

    def measure(self, case: BenchmarkCase) -> None:
        from ..counters.cuda_launches import count_cuda_launches
        from ..counters.python_calls import count_call

        file, name = key_of(case.nodeid)
        precisions = self.project.precisions
        scope = precisions.counting_scope(case.precision) if precisions and case.precision else nullcontext()
        with scope, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            call = self.version.build(case.id).call
            call()
            if device_of(self.config).type == "cuda":
                self.tally.on_device[file, name] = count_cuda_launches(call)
            else:
                project = self.project
                library, breaks = project.root / project.library, project.counts_graph_breaks(case)
                counts = count_call(call, breaks, library, project.uncounted_files)
                self.tally.counts.setdefault(file, CountsFile(torch_here())).cases[name] = counts

    def finish(self, status: int) -> int:
        if status not in FINISHED:
            return status
        try:
            return self.tally.conclude(failed=status == pytest.ExitCode.TESTS_FAILED)
        except CountsError as error:
            self.tally.lines.append(f"refused: {error}")
            return REFUSED

    def lines(self) -> list[str]:
        launches = [
            f"{case}: {', '.join(f'{number} {name}' for name, number in counted.items())}"
            for (_, case), counted in self.tally.on_device.items()
        ]
        return self.tally.lines + launches


def key_of(nodeid: str) -> Key:
    """The file of counts that holds a benchmark, and its name there."""
    path, _, name = nodeid.partition("::")
    return Path(path).stem, name


def torch_here() -> str:
    """The version of PyTorch that counts hold for."""
    import torch

    return torch_version(torch.__version__)
