"""The two versions of a comparison, side by side in this process or in processes of their own."""

import random
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ..case import BenchmarkId
from ..project import Project
from ..timing.clock import clock_of
from ..timing.pairing import Pair, TimedCall
from .loaded_version import LoadedVersion
from .worker import Launches

PairOf = Callable[[int, BenchmarkId], Pair | None]  # of a round, from its number; None after the last


def side_by_side(project: Project, options: Mapping[str, Any], tree: Path) -> PairOf:
    """Both versions in this process. Raises whatever the base raises when it is imported beside the head."""
    base, head = (LoadedVersion(project, options, folder) for folder in (tree, None))
    clock = clock_of(head.device)

    def pair_of(turn: int, benchmark: BenchmarkId) -> Pair:
        return (
            lambda: TimedCall(base.build(benchmark).call, clock),
            lambda: TimedCall(head.build(benchmark).call, clock),
        )

    return pair_of


def in_processes(
    project: Project,
    options: Mapping[str, Any],
    tree: Path,
    threads: int | None,
    base_python: str | None,
    most: int,
    rng: random.Random,
    resources: ExitStack,
) -> PairOf:
    """Each version in its own processes, launched anew for each round, `most` pairs of them."""
    pythons = (sys.executable if base_python is None else base_python, sys.executable)
    return resources.enter_context(Launches(project, pythons, tree, options, threads, most, rng))
