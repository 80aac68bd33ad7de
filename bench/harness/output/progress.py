"""How far a comparison is, on one line of a terminal, or now and then on a line of its own in a log."""

import sys
import time
from collections.abc import Collection
from typing import Any

import pytest

from ..quantities import duration
from ..timing.budget import CaseProgress

EVERY = 30.0  # seconds between the lines of a log


class ProgressLine:
    """The line; nothing under `-q`."""

    def __init__(self, config: pytest.Config) -> None:
        self._terminal: Any = config.pluginmanager.get_plugin("terminalreporter")
        self._capture: Any = config.pluginmanager.get_plugin("capturemanager")
        self._quiet = config.getoption("verbose") < 0 or self._terminal is None
        self._rewrites = sys.__stdout__ is not None and sys.__stdout__.isatty()
        self._last = time.perf_counter()
        self._shown = 0

    def tracing(self, done: int, cases: int) -> None:
        """So many cases were traced."""
        self._show(f"tracing what cases run: {done} of {cases} (once for a base version)", done == cases)

    def measuring(self, progress: Collection[CaseProgress], cases: int, seconds: float, pauses: str = "") -> None:
        """How many cases are clear, how long the budget lasts, and what is to be said of pauses."""
        clear = sum(each.is_clear for each in progress)
        doubtful = len(progress) - clear
        left = f"{duration(seconds)} left{'; ' * bool(pauses)}{pauses}"
        self._show(f"{clear} of {cases} cases clear, {doubtful} unclear yet, {left}")

    def clear(self) -> None:
        """Take the line away."""
        if self._shown and self._rewrites:
            self._write("\r" + " " * self._shown + "\r")
            self._shown = 0

    def _show(self, text: str, always: bool = False) -> None:
        if self._quiet or not (self._rewrites or always or time.perf_counter() - self._last > EVERY):
            return
        self._last = time.perf_counter()
        self._write(f"\r{text:{self._shown}}" if self._rewrites else f"\n{text}\n")
        self._shown = len(text)

    def _write(self, text: str) -> None:
        with self._capture.global_and_fixture_disabled():
            self._terminal.write(text, flush=True)
