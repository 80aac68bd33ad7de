"""Runs the mode that the command line chooses: the one place where pytest calls modes."""

import traceback
from collections.abc import Generator
from contextlib import ExitStack, suppress
from typing import Any

import pytest

from ..case import case_of, is_benchmark
from ..output.verdict_table import REFUSED
from ..pytest_benchmark_adapter import disable_timing, mark_as_used, show_table, skip_conftest
from ..session import CONCLUDED, SUMMARIZED
from .calibrate import Calibrate
from .compare_commits import CompareCommits
from .compare_precisions import ComparePrecisions
from .counts_mode import CountsMode
from .interrupts import sigterm_interrupts
from .mode import Mode
from .refusals import COMPARES_SAVED, refuse_mistakes
from .self_test import SelfTest

MODES: tuple[type[Mode], ...] = (CompareCommits, ComparePrecisions, CountsMode, SelfTest, Calibrate)
MODE = pytest.StashKey[Mode]()
STARTED = pytest.StashKey[bool]()
NOT_MEASURED = pytest.StashKey[set[str]]()  # cases that the mode began with, and was not asked to measure yet
MISSED = pytest.StashKey[list[str]]()  # those of them at the end
RESOURCES = pytest.StashKey[ExitStack]()


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    skip_conftest(pluginmanager, "--against")
    for mode in _registry(pluginmanager):
        mode.add_options(parser)


def _registry(pluginmanager: pytest.PytestPluginManager) -> tuple[type[Mode], ...]:
    project = pluginmanager.hook.pytest_bench_project()
    return (*MODES, *(project.modes if project else ()))


def chosen(config: pytest.Config) -> list[tuple[type[Mode], str]]:
    """The mode that the command line chooses, with its option; none for a plain run. Raises UsageError for two."""
    given = [
        (mode, flag)
        for mode in _registry(config.pluginmanager)
        for flag in mode.flags
        if config.getoption(flag) is not None and config.getoption(flag) is not False  # 0 and "" are given
    ]
    if len(given) > 1:
        raise pytest.UsageError(f"{given[0][1]} and {given[1][1]} exclude each other; leave one out.")
    return given


def chosen_flag(config: pytest.Config) -> str | None:
    """The option that chooses a mode; None for a plain run."""
    return next((flag for _, flag in chosen(config)), None)


def chosen_mode(config: pytest.Config) -> type[Mode] | None:
    """The mode that the command line chooses; None for a plain run."""
    return next((mode for mode, _ in chosen(config)), None)


def gate_flag(config: pytest.Config) -> str | None:
    """The option that asks for something to be concluded: a mode's, or --benchmark-compare; None for a plain run."""
    compares = config.getoption(COMPARES_SAVED) not in (None, False, [])
    return chosen_flag(config) or (COMPARES_SAVED if compares else None)


def pytest_cmdline_main(config: pytest.Config) -> int | None:
    refuse_mistakes(config, gate_flag(config))  # after pytest-xdist's, which says whether there are several processes
    mode = chosen_mode(config)
    code = mode.replace_session(config) if mode else None
    if code is not None:
        config.stash[CONCLUDED] = True
    return code


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    chosen = chosen_mode(config)
    for mode in _registry(config.pluginmanager):
        if mode is not chosen:
            mode.check_not_chosen(config)
    if chosen is not None:
        config.stash[MODE] = made = chosen(config)
        if not made.times_too:
            disable_timing(config)


def pytest_collection_finish(session: pytest.Session) -> None:
    config = session.config
    if MODE not in config.stash or config.getoption("collectonly"):
        return
    mode = config.stash[MODE]
    config.stash[RESOURCES] = ExitStack()
    config.stash[RESOURCES].enter_context(sigterm_interrupts())  # so that what was measured until then is not lost
    try:
        cases = {item.nodeid: case_of(item) for item in session.items if is_benchmark(item)}
        selected = {case.nodeid: case for case in mode.select(list(cases.values()))}
        left = [item for item in session.items if item.nodeid in cases and item.nodeid not in selected]
        if left:
            config.hook.pytest_deselected(items=left)
            session.items[:] = [item for item in session.items if item not in left]
        config.stash[NOT_MEASURED] = set(selected)
        mode.start(list(selected.values()))
    except KeyboardInterrupt:
        config.stash[STARTED] = True  # pytest ends the session
        raise
    except BaseException:
        _close(config)
        raise
    config.stash[STARTED] = True


def _close(config: pytest.Config) -> None:
    config.stash[MODE].close()
    config.stash[RESOURCES].close()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    if STARTED not in pyfuncitem.config.stash or not is_benchmark(pyfuncitem):
        return None
    mode = pyfuncitem.config.stash[MODE]
    pyfuncitem.config.stash[NOT_MEASURED].discard(pyfuncitem.nodeid)
    if not mode.times_too:
        mark_as_used(pyfuncitem)
    mode.measure(case_of(pyfuncitem))
    return None if mode.times_too else True


def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> None:
    if call.excinfo is not None:  # skipped, or failed, before its function was called
        item.config.stash.setdefault(NOT_MEASURED, set()).discard(item.nodeid)


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, Any, Any]:
    result = yield
    if STARTED in session.config.stash:
        session.config.stash[MODE].after_cases()
    return result


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> Generator[None, Any, Any]:
    """Conclude before any other plugin ends its session: what it raises then takes nothing with it."""
    if STARTED in session.config.stash:
        _conclude(session, exitstatus)
    try:
        return (yield)
    finally:
        _summarize(session, exitstatus)


def _conclude(session: pytest.Session, exitstatus: int) -> None:
    config = session.config
    mode = config.stash[MODE]
    try:
        if exitstatus == pytest.ExitCode.INTERRUPTED:
            mode.interrupted()
            return
        code = mode.finish(exitstatus)
        left: set[str] = config.stash.setdefault(NOT_MEASURED, set())
        missed = config.stash[MISSED] = sorted(left) if exitstatus == pytest.ExitCode.OK else []
        session.exitstatus = REFUSED if missed or exitstatus == pytest.ExitCode.INTERNAL_ERROR else code
        config.stash[CONCLUDED] = True
    finally:
        _close(config)


def _summarize(session: pytest.Session, exitstatus: int) -> None:
    """Print what was found where pytest does not: after an error of its own, or of another plugin at the end."""
    config = session.config
    terminal: Any = config.pluginmanager.get_plugin("terminalreporter")
    if terminal is None or SUMMARIZED in config.stash or config.getoption("no_summary", False):
        return
    try:
        config.hook.pytest_terminal_summary(terminalreporter=terminal, exitstatus=exitstatus, config=config)
    except Exception:
        traceback.print_exc()


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> Generator[None, Any, Any]:
    config.stash[SUMMARIZED] = True
    try:
        return (yield)
    except Exception:  # of another plugin, maybe before pytest-benchmark's turn
        with suppress(Exception):
            show_table(config, terminalreporter)
        raise
    finally:
        if STARTED in config.stash:
            _show_mode(terminalreporter, config)


def _show_mode(terminal: Any, config: pytest.Config) -> None:
    mode = config.stash[MODE]
    if mode.title is not None:
        terminal.section(mode.title)
    for line in mode.lines():
        terminal.write_line(line)
    if missed := config.stash.get(MISSED, []):
        terminal.write_line(
            f"refused: {len(missed)} cases did not run in this process, first {missed[0]}; leave out the plugin that "
            "runs them in another, or not at all."
        )
