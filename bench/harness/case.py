"""A benchmark: as pytest collected it, as another process finds it again, and as a version builds it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import pytest

from .quantities import percentage


@dataclass(frozen=True)
class BenchmarkId:
    """How another version, or another process, finds a benchmark."""

    module: str  # in the suite
    function: str
    parameters: Mapping[str, str | int]  # that of a table by its name


@dataclass(frozen=True)
class BenchmarkCall:
    """What a benchmark gives to `measure`, its objects made anew."""

    call: Callable[[], Any]
    eager: Callable[[], Any] | None = None  # the same operator by operator, where `call` hides them
    answer: Callable[[], Mapping[str, Any]] | None = None  # what is compared with float64, by Precisions.bounds' names
    phases: Callable[[], Mapping[str, float]] | None = None  # seconds; "network" is what a precision makes faster


@dataclass(frozen=True)
class BenchmarkCase:
    """One benchmark with its parameters, as a project's rules and a mode see it."""

    nodeid: str  # bench/bench_linear.py::bench_linear[fp32-1024-forward]
    id: BenchmarkId
    parameters: Mapping[str, Any]
    fixtures: frozenset[str]  # the names of those that it takes
    markers: frozenset[str]
    slower_than: float | None = None  # of its marker: the smallest slowdown that matters, relative

    @property
    def name(self) -> str:
        """The benchmark in tables: bench_linear.py::bench_linear[fp32-1024-forward]."""
        return name_of(self.nodeid)

    @property
    def precision(self) -> str | None:
        """The precision that it runs in, where it has one to choose."""
        return self.parameters.get("precision")


def name_of(nodeid: str) -> str:
    """A benchmark's name in tables: its node without the folder."""
    file, _, name = nodeid.partition("::")
    return f"{PurePosixPath(file).name}::{name}"


def is_benchmark(item: pytest.Item) -> bool:
    """Whether pytest collected a benchmark, not a test."""
    return item.path.name.startswith("bench_")


def case_of(item: pytest.Item) -> BenchmarkCase:
    """The case that pytest collected. Raises UsageError for a marker `slower_than` that is no share."""
    assert isinstance(item, pytest.Function)
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    markers = frozenset(marker.name for marker in item.iter_markers())
    marker = item.get_closest_marker("slower_than")
    return BenchmarkCase(
        item.nodeid,
        id_of(item.function, parameters),
        parameters,
        frozenset(item.fixturenames),
        markers,
        percentage(str(*marker.args)) if marker else None,
    )


def id_of(function: Callable[..., Any], parameters: Mapping[str, Any]) -> BenchmarkId:
    """How a benchmark is found again: values of a table, which are pairs of a name and a value, by their name."""
    named = {name: value[0] if isinstance(value, tuple) else value for name, value in parameters.items()}
    return BenchmarkId(function.__module__.rpartition(".")[2], function.__name__, named)


def parameters_of(function: Callable[..., Any], benchmark: BenchmarkId) -> dict[str, Any]:
    """The parameters' values: those of a table are looked up by their name."""
    tables = {
        mark.args[0]: {value[0] if isinstance(value, tuple) else value: value for value in mark.args[1]}
        for mark in getattr(function, "pytestmark", [])
        if mark.name == "parametrize"
    }
    return {name: tables[name][value] if name in tables else value for name, value in benchmark.parameters.items()}
