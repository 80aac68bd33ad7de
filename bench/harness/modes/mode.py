"""What a mode is: a way to run benchmarks other than timing each once."""

from collections.abc import Sequence
from typing import ClassVar

import pytest

from ..case import BenchmarkCase


class Mode:
    """One run in a mode, from its options to its exit code. Modes exclude each other; `driver` calls them.

    Made before anything is collected; raises UsageError for options that cannot be.
    """

    # The options that choose it.
    flags: ClassVar[tuple[str, ...]]
    # Whether pytest-benchmark times each case as well.
    times_too = False
    # The title of the lines at the end; None: they stand without one.
    title: str | None = None

    @classmethod
    def add_options(cls, parser: pytest.Parser) -> None:
        """Add the mode's options to the command line."""

    @classmethod
    def check_not_chosen(cls, config: pytest.Config) -> None:
        """Raise UsageError for options that go with this mode, which was not chosen."""

    @classmethod
    def replace_session(cls, config: pytest.Config) -> int | None:
        """Run in place of a session; the exit code. None: there is a session."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config

    def left_out(self, case: BenchmarkCase) -> str | None:
        """Why a case that the project runs here is not measured in this mode, or None."""
        return None

    def select(self, cases: Sequence[BenchmarkCase]) -> Sequence[BenchmarkCase]:
        """Return those of the chosen cases that are to be measured. Raises UsageError for what keeps it from that."""
        return cases

    def start(self, cases: Sequence[BenchmarkCase]) -> None:
        """Begin, with the cases that are to be measured. Raises UsageError for what keeps it from beginning."""

    def measure(self, case: BenchmarkCase) -> None:
        """Measure one case. Raises what the case raises."""

    def after_cases(self) -> None:
        """Measure more, when every case was measured once."""

    def finish(self, status: int) -> int:
        """Conclude, and write what is to be written; the run's exit code, from pytest's."""
        return status

    def interrupted(self) -> None:
        """Write what there is: Ctrl-C or SIGTERM ended the run."""

    def close(self) -> None:
        """Let go of processes and folders."""

    def lines(self) -> list[str]:
        """What is printed at the end."""
        return []
