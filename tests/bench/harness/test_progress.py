"""How far a comparison is: one line that is rewritten on a terminal, and a line now and then in a log."""

import contextlib
import sys
from types import SimpleNamespace

import pytest

from bench.harness.output import progress
from bench.harness.output.progress import EVERY, ProgressLine


class Screen:
    """A terminal or a log, and a clock."""

    def __init__(self, monkeypatch, is_terminal):
        self.text, self.now = "", 1000.0
        monkeypatch.setattr(sys, "__stdout__", SimpleNamespace(isatty=lambda: is_terminal))
        monkeypatch.setattr(progress, "time", SimpleNamespace(perf_counter=lambda: self.now))

    def write(self, text, flush):
        assert flush
        self.text += text

    def line(self, verbose=0):
        capture = SimpleNamespace(global_and_fixture_disabled=contextlib.nullcontext)
        plugins = {"terminalreporter": self, "capturemanager": capture}
        return ProgressLine(
            SimpleNamespace(pluginmanager=SimpleNamespace(get_plugin=plugins.get), getoption=lambda name: verbose)
        )


@pytest.fixture(params=[True, False], ids=["terminal", "log"])
def is_terminal(request):
    return request.param


@pytest.fixture
def screen(monkeypatch, is_terminal):
    return Screen(monkeypatch, is_terminal)


CASES = [SimpleNamespace(is_clear=True), SimpleNamespace(is_clear=True), SimpleNamespace(is_clear=False)]
TEXT = "2 of 40 cases clear, 1 unclear yet, 4min left"


def test_a_terminal_shows_every_step_on_one_line_and_a_log_one_in_30_seconds(screen, is_terminal):
    line = screen.line()
    line.measuring(CASES, 40, 240.0)
    assert screen.text == (f"\r{TEXT}" if is_terminal else "")
    screen.now += EVERY + 1
    line.measuring(CASES, 40, 240.0)
    line.measuring(CASES, 40, 240.0)
    assert screen.text == (f"\r{TEXT}" * 3 if is_terminal else f"\n{TEXT}\n")


def test_a_shorter_line_covers_a_longer_one_and_the_end_takes_it_away(screen, is_terminal):
    line = screen.line()
    line.tracing(1, 2)
    long = len(screen.text)
    line.measuring(CASES, 40, 240.0)
    line.clear()
    if is_terminal:
        assert screen.text[long:].startswith(f"\r{TEXT} ")
        assert screen.text.endswith(f"\r{' ' * len(TEXT)}\r")
    else:
        assert screen.text == ""


def test_pauses_are_said_beside_what_is_left(screen, is_terminal):
    line = screen.line()
    screen.now += EVERY + 1
    line.measuring(CASES, 40, 240.0, "paused 3.0s, as heat slowed the GPU")
    assert f"{TEXT}; paused 3.0s, as heat slowed the GPU" in screen.text


def test_the_end_of_tracing_is_written_in_a_log_too(screen):
    screen.line().tracing(2, 2)
    assert "tracing what cases run: 2 of 2 (once for a base version)" in screen.text


def test_q_writes_nothing(screen):
    line = screen.line(verbose=-1)
    line.tracing(2, 2)
    line.clear()
    assert screen.text == ""
