"""`pytest bench --counts`: what every case does, counted and compared exactly with the accepted counts.

No clock takes part, so the gate says the same on every machine with the same PyTorch. A call runs once to warm up, and
is counted in the runs after it. On CUDA the kernels by name, launches and waits are counted instead, and compared with
those of the same GPU and build of PyTorch: counts/GPU/torch-VERSION/.

Exit codes: 0 equal; 1 a number changed, up or down; 4 refused, with a sentence that says why.
"""

import re
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ..case import BenchmarkCase
from ..counters.counts_file import (
    ACCEPT,
    Counts,
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

if TYPE_CHECKING:
    import torch

EQUAL, CHANGED = 0, 1  # exit codes, beside REFUSED
FINISHED = (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED)
Key = tuple[str, str]  # a benchmark's file and name: ("bench_linear", "bench_linear[fp32-1024-forward]")


@dataclass
class Tally:
    """The counts of a run, and the suite's folder of those that were accepted."""

    folder: Path
    accept: bool
    chosen: set[Key] = field(default_factory=set)  # to be counted
    known: dict[str, set[str] | None] = field(default_factory=dict)  # each file's cases; None: only some were looked at
    counts: dict[str, CountsFile] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)  # to be printed
    gpu: str | None = None  # its name, if the counts are of one

    @property
    def torch(self) -> str:
        """The version of PyTorch that counts hold for: of a GPU its build too, which brings the libraries' kernels."""
        import torch

        return torch_here() if self.gpu is None else str(torch.__version__)

    @property
    def files(self) -> Path:
        """The folder of the files that the counts are compared with."""
        return self.folder if self.gpu is None else self.folder / gpu_slug(self.gpu) / f"torch-{self.torch}"

    @property
    def command(self) -> str:
        """What accepts the counts."""
        return ACCEPT if self.gpu is None else f"{ACCEPT} --device cuda"

    def require_files(self) -> None:
        """Raise CountsError, before anything is run, where a chosen case has nothing to be compared with."""
        if self.gpu is not None and not self.accept and not self.files.exists():
            raise CountsError(f"no counts of {self.gpu} with PyTorch {self.torch}; run {self.command} to make them.")
        for file in sorted({file for file, _ in self.chosen}):
            self.before(file)

    def add(self, key: Key, counts: Counts) -> None:
        """Add the counts of a case."""
        file, case = key
        self.counts.setdefault(file, CountsFile(self.torch)).cases[case] = counts

    def before(self, file: str) -> CountsFile:
        """The accepted counts of a file: none, or another PyTorch's, only where they are to be replaced."""
        path = self.files / f"{file}.json"
        if self.accept:
            return read_counts(path, command=self.command) if path.exists() else CountsFile(self.torch)
        return read_counts(path, self.torch, self.command)

    def conclude(self, failed: bool) -> int:
        """Compare, or write if that is asked for. Raises CountsError where either would hide something."""
        counted = {(file, case) for file, counts in self.counts.items() for case in counts.cases}
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
        orphans = [path for path in sorted(self.files.glob("*.json")) if not self._is_benchmark(path.stem)]
        odd += [f"{path.stem}: has counts, but is no benchmark any more" for path in orphans]
        self.lines += changed + odd
        if self.accept:
            self._accept(before, orphans)
            self.lines.append(f"counts of {len(counted)} cases accepted")
            return EQUAL
        if odd:
            raise CountsError(f"some cases cannot be compared; if that is meant, run {self.command}.")
        if changed:
            again = f"if that is meant, run {self.command} and commit the files."
            self.lines.append(f"counts changed; {again}")
            return CHANGED
        self.lines.append(f"counts of {len(counted)} cases: all equal")
        return EQUAL

    def _is_benchmark(self, file: str) -> bool:
        return (self.folder.parent / f"{file}.py").exists()

    def _accept(self, before: dict[str, CountsFile], orphans: Sequence[Path]) -> None:
        merged = {
            file: merge_counts(old, self.counts[file], self.known[file], self.command) for file, old in before.items()
        }
        for file, counts in merged.items():  # all of them, or none
            write_counts(self.files / f"{file}.json", counts)
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
        tally.gpu = gpu_name(device_of(self.config))
        try:
            tally.require_files()
        except CountsError as error:
            raise pytest.UsageError(str(error)) from None

    def measure(self, case: BenchmarkCase) -> None:
        from ..counters.python_calls import count_call

        precisions = self.project.precisions
        scope = precisions.counting_scope(case.precision) if precisions and case.precision else nullcontext()
        with scope, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            call = self.version.build(case.id).call
            call()
            if self.tally.gpu is None:
                project = self.project
                library, breaks = project.root / project.library, project.counts_graph_breaks(case)
                counts = count_call(call, breaks, library, project.uncounted_files)
            else:
                counts = self._count_on_gpu(call)
            self.tally.add(key_of(case.nodeid), counts)

    def _count_on_gpu(self, call: Callable[[], Any]) -> Counts:
        from ..counters.cuda_launches import count_cuda_launches

        try:
            return count_cuda_launches(call)
        except CountsError as error:  # of this case alone: the others are counted
            pytest.fail(str(error), pytrace=False)

    def finish(self, status: int) -> int:
        if status not in FINISHED:
            return status
        try:
            return self.tally.conclude(failed=status == pytest.ExitCode.TESTS_FAILED)
        except CountsError as error:
            self.tally.lines.append(f"refused: {error}")
            return REFUSED

    def lines(self) -> list[str]:
        return self.tally.lines


def key_of(nodeid: str) -> Key:
    """The file of counts that holds a benchmark, and its name there."""
    path, _, name = nodeid.partition("::")
    return Path(path).stem, name


def torch_here() -> str:
    """The version of PyTorch that counts hold for."""
    import torch

    return torch_version(torch.__version__)


def gpu_name(device: "torch.device") -> str | None:
    """The name of a CUDA device; None for the CPU."""
    import torch

    return torch.cuda.get_device_name(device) if device.type == "cuda" else None


def gpu_slug(name: str) -> str:
    """A GPU's name as a folder's: nvidia-h100-80gb-hbm3."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
