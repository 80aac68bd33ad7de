"""What the harness must know of the project whose benchmarks it runs.

A project's conftest.py names the harness and gives it one object:

    pytest_plugins = ["bench.harness.plugin"]

    def pytest_bench_project():
        from bench.project import PROJECT
        return PROJECT
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from .case import BenchmarkCase
from .stats.accuracy import Bounds

if TYPE_CHECKING:
    import torch

    from .modes.mode import Mode

Option = Callable[[str], Any]  # the value of a command-line option by its name, such as "--device"
HARNESS_FIXTURES = ("measure", "workload", "device", "dtype")  # what every benchmark may take


@dataclass(frozen=True)
class Run:
    """What the command line chose, as a project's rules see it."""

    device: "torch.device"
    workload: Any
    mode: str | None  # the option that chose a mode, such as "--counts"; None: each case is timed once
    quick: bool
    full: bool
    option: Option


@dataclass(frozen=True)
class Precisions:
    """The number formats that a benchmark with a parameter `precision` runs in."""

    # The names of those that a device has.
    supported: Callable[["torch.device"], Sequence[str]]
    # The one that the others are timed against.
    reference: str
    # Half the gap between neighbours near 1, of the format that a precision multiplies in.
    unit_roundoff: Callable[[str], float]
    # The largest relative error of each kind of answer, from the unit roundoff. A benchmark's answers use these names.
    bounds: Bounds
    # Whether a case that multiplies nothing in the lower format makes a run fail.
    must_lower: Callable[[BenchmarkCase], bool] = lambda case: True
    # A context in which a precision's operators are counted.
    counting_scope: Callable[[str], AbstractContextManager[Any]] = lambda precision: nullcontext()


@dataclass(frozen=True)
class Project:
    """One project: its packages, how its workload is made, and its rules. Functions import the library when called."""

    # What the header of a run begins with.
    name: str
    # The module that holds this object under the name PROJECT: `__name__`. Its package is the suite, which other
    # versions of the library are measured with; so it imports itself relatively, and the library by name.
    module: str
    # The folder of the repository, with the library and the suite in it.
    root: Path
    # The package that `--against` compares two versions of, and whose functions `--counts` counts the calls of.
    # It imports itself relatively, so that two versions fit into one process.
    library: str
    # Makes what benchmarks work on, from the options below and the device. Raises pytest.UsageError for a mistake.
    make_workload: Callable[[Option, "torch.device"], Any]
    # The options that make_workload reads, beside --device.
    options: tuple[str, ...] = ()
    # Fixtures that a benchmark may take beside HARNESS_FIXTURES, each made from the workload.
    fixtures: Mapping[str, Callable[[Any], Any]] = field(default_factory=dict)
    # What describes a workload: in the header and beside each time, name and value.
    describe: Callable[[Any], Mapping[str, str]] = lambda workload: {}
    # Further lines of the header.
    notes: Callable[[Any], Sequence[str]] = lambda workload: ()
    # Why a case does not run here, or None.
    left_out: Callable[[BenchmarkCase, Run], str | None] = lambda case, run: None
    # Why a case does not change with the library, so that no two versions are compared by it, or None.
    not_compared: Callable[[BenchmarkCase], str | None] = lambda case: None
    # The smallest slowdown of a case that matters, relative, where it is not that of --slower-than; else None.
    slower_than: Callable[[BenchmarkCase], float | None] = lambda case: None
    # Why a case is not counted, or None.
    not_counted: Callable[[BenchmarkCase], str | None] = lambda case: None
    # Whether the places where torch.compile would stop are counted, too.
    counts_graph_breaks: Callable[[BenchmarkCase], bool] = lambda case: False
    # Files of the library, relative to its folder, whose functions are not counted: not every machine runs them.
    uncounted_files: tuple[str, ...] = ()
    # Options that --counts refuses, because what they name is not in every clone.
    not_with_counts: tuple[str, ...] = ()
    # Information of a benchmark that is shown per second after a run, such as "frames".
    rates: tuple[str, ...] = ()
    # None: no benchmark has a precision to choose.
    precisions: Precisions | None = None
    # Modes beside those of the harness.
    modes: "tuple[type[Mode], ...]" = ()

    @property
    def suite(self) -> str:
        """The package of the benchmarks."""
        return self.module.rpartition(".")[0]

    @property
    def counts_folder(self) -> Path:
        """Where accepted counts are kept, a file for each file of benchmarks."""
        return self.root / self.suite / "counts"

    @property
    def workload_options(self) -> tuple[str, ...]:
        """The options that another version or process is given."""
        return ("--device", "--require-cuda", *self.options)


class HookSpecs:
    """The hook that a project's conftest.py implements."""

    @pytest.hookspec(firstresult=True)
    def pytest_bench_project(self) -> Project:
        """Return the project whose benchmarks run."""
        raise NotImplementedError
