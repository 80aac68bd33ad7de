"""Runs the mode that the command line chooses: the one place where pytest calls modes."""

from collections.abc import Generator
from contextlib import ExitStack
from typing import Any

import pytest

from ..case import case_of, is_benchmark
from ..pytest_benchmark_adapter import disable_timing, mark_as_used, skip_conftest
from ..session import CONCLUDED
from .calibrate import Calibrate
from .compare_commits import CompareCommits
from .compare_precisions import ComparePrecisions
from .counts_mode import CountsMode
from .interrupts import sigterm_interrupts
from .mode import Mode
from .self_test import SelfTest

MODES: tuple[type[Mode], ...] = (CompareCommits, ComparePrecisions, CountsMode, SelfTest, Calibrate)
MODE = pytest.StashKey[Mode]()
STARTED = pytest.StashKey[bool]()
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
    given = [(mode, flag) for mode in _registry(config.pluginmanager) for flag in mode.flags if config.getoption(flag)]
    if len(given) > 1:
        raise pytest.UsageError(f"{given[0][1]} and {given[1][1]} exclude each other; leave one out.")
    return given


def chosen_flag(config: pytest.Config) -> str | None:
    """The option that chooses a mode; None for a plain run."""
    return next((flag for _, flag in chosen(config)), None)


def chosen_mode(config: pytest.Config) -> type[Mode] | None:
    """The mode that the command line chooses; None for a plain run."""
    return next((mode for mode, _ in chosen(config)), None)


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> int | None:
    mode = chosen_mode(config)
    return mode.replace_session(config) if mode else None


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
    if not mode.times_too:
        mark_as_used(pyfuncitem)
    mode.measure(case_of(pyfuncitem))
    return None if mode.times_too else True


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, Any, Any]:
    result = yield
    if STARTED in session.config.stash:
        session.config.stash[MODE].after_cases()
    return result


@pytest.hookimpl(wrapper=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> Generator[None, Any, Any]:
    result = yield
    config = session.config
    if STARTED not in config.stash:
        return result
    mode = config.stash[MODE]
    try:
        if exitstatus == pytest.ExitCode.INTERRUPTED:
            mode.interrupted()
        else:
            session.exitstatus = mode.finish(exitstatus)
            config.stash[CONCLUDED] = True
    finally:
        _close(config)
    return result


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if STARTED not in config.stash:
        return
    mode = config.stash[MODE]
    if mode.title is not None:
        terminalreporter.section(mode.title)
    for line in mode.lines():
        terminalreporter.write_line(line)
