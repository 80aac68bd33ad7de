"""All that the harness uses of pytest-benchmark, and of pytest, beyond what they document."""

import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import pytest
from pytest_benchmark.session import PerformanceRegression as PerformanceRegression
from pytest_benchmark.storage.file import FileStorage
from pytest_benchmark.utils import get_machine_id, safe_dumps

from .output.files import write_whole


class Stats(Protocol):
    """The times of a benchmark, in seconds of a call."""

    rounds: int
    median: float
    data: Sequence[float]


class TimedBenchmark(Protocol):
    """A benchmark that pytest-benchmark timed."""

    name: str
    fullname: str  # its node
    extra_info: Mapping[str, Any]
    stats: Stats


def options_given(config: pytest.Config) -> Iterator[tuple[str, str, Any, Any]]:
    """Every option: the name of its group, its own, its value and its default."""
    parser: Any = config._parser
    for group in parser._groups:
        for option in group.options:
            default = getattr(option, "default", None)
            yield group.name, option.names()[-1], config.getoption(option.dest, default), default


def uses_several_processes(config: pytest.Config) -> bool:
    """Whether pytest-xdist moves what is collected to other processes; from pytest_cmdline_main on."""
    return config.getoption("dist", "no") != "no"


def saved_to(config: pytest.Config) -> Path | None:
    """The folder of this machine's saved runs, before pytest-benchmark is configured; None where it is no folder."""
    storage = str(config.getoption("benchmark_storage"))
    scheme, found, folder = storage.partition("://")
    if found and scheme != "file":
        return None
    return Path(folder if found else storage) / get_machine_id()


def disable_timing(config: pytest.Config) -> None:
    """Have pytest-benchmark time nothing; before it is configured."""
    config.option.benchmark_disable = True


def save_samples(config: pytest.Config) -> None:
    """Have pytest-benchmark save every sample, not their statistics alone; before it is configured."""
    config.option.benchmark_save_data = True


def times_nothing(config: pytest.Config) -> bool:
    """Whether benchmarks are run and not timed."""
    return bool(_session(config).disabled)


def timed_benchmarks(config: pytest.Config) -> list[TimedBenchmark]:
    """What was timed until now."""
    session = getattr(config, "_benchmarksession", None)
    return [each for each in getattr(session, "benchmarks", ()) if each.stats.rounds]


def use_timer(config: pytest.Config, timer: Callable[[], float]) -> None:
    """Have pytest-benchmark read another clock."""
    if hasattr(config, "_benchmarksession"):
        _session(config).options["timer"].target = timer


def mark_as_used(item: pytest.Function) -> None:
    """Spare a benchmark that a mode measures pytest-benchmark's warning that it was not used."""
    fixture: Any = item.funcargs["benchmark"]
    fixture(lambda: None)


def show_table_once(config: pytest.Config) -> None:
    """Let pytest-benchmark's table be printed when it is first asked for, and not again."""
    session = _session(config)
    display = session.display

    def once(terminal: Any) -> None:
        session.display = lambda terminal: None
        display(terminal)

    session.display = once


def show_table(config: pytest.Config, terminal: Any) -> None:
    """Print pytest-benchmark's table, if it is not printed yet."""
    _session(config).display(terminal)


def compares_with_saved(config: pytest.Config) -> bool:
    """Whether --benchmark-compare is given and something is timed that it could compare."""
    return bool(_session(config).compare) and not times_nothing(config)


def has_saved_runs(config: pytest.Config) -> bool:
    """Whether a run of this machine was saved that can be read."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of each that cannot: said before
        return any(True for _ in _session(config).storage.load())


def would_save(config: pytest.Config) -> bool:
    """Whether this run is to be saved."""
    return bool(_session(config).save or _session(config).autosave)


def do_not_save(config: pytest.Config) -> None:
    """Let this run not be saved."""
    _session(config).save = _session(config).autosave = None


def as_saved(config: pytest.Config) -> Mapping[str, Any] | None:
    """This session's benchmarks in the form in which pytest-benchmark saves a run; None where nothing was timed."""
    session = _session(config)
    if session.disabled or not session.benchmarks:
        return None
    saved: Mapping[str, Any] = config.hook.pytest_benchmark_generate_json(
        config=config,
        benchmarks=session.benchmarks,
        include_data=False,
        machine_info=session.get_machine_info(),
        commit_info=config.hook.pytest_benchmark_generate_commit_info(config=config),
    )
    return saved


def file_beside_saved_runs(config: pytest.Config, name: str) -> Path:
    """A file in this machine's folder of saved runs."""
    return Path(_session(config).storage.get(name))


def skip_conftest(pluginmanager: pytest.PytestPluginManager, option: str) -> None:
    """Keep pytest from loading the conftest.py of a folder that an option names; before options are read.

    Options of a conftest.py are not known yet when pytest looks for those of the folders that it is given, so that it
    takes the option's value for one of them.
    """
    config: Any = pluginmanager.get_plugin("pytestconfig")
    arguments = config.invocation_params.args
    for given, value in pairwise(arguments):
        if given == option:
            name = os.path.abspath(config.invocation_params.dir / value / "conftest.py")
            if not pluginmanager.has_plugin(name):
                pluginmanager.register(object(), name)


@contextmanager
def configured(config: pytest.Config) -> Iterator[None]:
    """A configuration without a session, for what runs in place of one."""
    config._do_configure()
    try:
        yield
    finally:
        config._ensure_unconfigure()


def keep_files_whole(config: pytest.Config) -> None:
    """Have pytest-benchmark save runs in one move."""
    storage = _session(config).storage
    if isinstance(storage, FileStorage):
        storage.__class__ = WholeFileStorage


class WholeFileStorage(FileStorage):
    """pytest-benchmark's folder of runs, whose files are whole or not there."""

    @property
    def location(self) -> str:
        """Its path; that of pytest-benchmark fails outside the working directory."""
        return str(self.path)

    def save(self, output_json: Mapping[str, Any], save: str) -> None:
        """Write a run under the next number."""
        file = self.get(f"{self._next_num}_{save}.json")
        write_whole(file, safe_dumps(output_json, ensure_ascii=True, indent=4).encode())
        self.logger.info(f"Saved benchmark data in: {file}")


def _session(config: pytest.Config) -> Any:
    return getattr(config, "_benchmarksession")  # noqa: B009
