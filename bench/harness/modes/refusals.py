"""What a run is refused for before anything is collected, each in one sentence."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from ..output.files import require_writable
from ..pytest_benchmark_adapter import options_given, saved_to, uses_several_processes
from ..session import project_of, rule_of

AT_LEAST_ONE = {"--threads": 2, "--launches": 12, "--trials": 10}  # with what could be given
COMPARES_SAVED = "--benchmark-compare"
# pytest-benchmark's options whose value may be left out, so that they take what follows for it.
OPTIONAL_VALUES = (COMPARES_SAVED, "--benchmark-histogram", "--benchmark-cprofile-dump", "--benchmark-netrc")
KEEPS_TIMES = ("--benchmark-autosave", "--benchmark-save", "--benchmark-json", "--benchmark-histogram")


def refuse_mistakes(config: pytest.Config, mode: str | None) -> None:
    """Raise UsageError for options that cannot be; `mode` is the option that chose a mode or compares, or None."""
    _refuse_empty(config)
    _refuse_numbers(config)
    _refuse_swallowed_paths(config)
    if mode is not None and not names_suite(config):
        raise for_benchmarks_alone(config, mode)
    if names_suite(config):
        _refuse_processes(config, mode)
        _refuse_lost_files(config)


def for_benchmarks_alone(config: pytest.Config, mode: str) -> pytest.UsageError:
    """What is said where a mode is asked of other tests."""
    suite = project_of(config).suite.replace(".", "/")
    return pytest.UsageError(f"{mode} is for benchmarks alone; run pytest {suite} {mode} ...")


def names_suite(config: pytest.Config) -> bool:
    """Whether the paths of a command line hold benchmarks; a path that is not there may."""
    project, start = project_of(config), config.invocation_params.dir
    suite = (project.root / project.suite.replace(".", "/")).resolve()
    paths = [(start / argument.partition("::")[0]).resolve() for argument in config.args]
    return any(suite in (path, *path.parents) or path in suite.parents or not path.exists() for path in paths)


def _refuse_empty(config: pytest.Config) -> None:
    """An empty variable in a script is no option that was left out."""
    ours = project_of(config).options
    for group, name, value, default in options_given(config):
        values = value if isinstance(value, list) else [value]
        if ("bench" in group or name in ours) and default != "" and "" in values:
            raise pytest.UsageError(f"{name} is empty; give it a value, or leave it out.")


def _refuse_numbers(config: pytest.Config) -> None:
    for name, usual in AT_LEAST_ONE.items():
        number = config.getoption(name)
        if number is not None and number < 1:
            raise pytest.UsageError(f"{name} {number}: give one at least, say, {usual}.")
    if not 0 <= (seconds := config.getoption("--max-time")) < float("inf"):
        raise pytest.UsageError(f"--max-time {seconds:g}: give seconds, say, --max-time 30.")
    rule_of(config, 1)
    if config.getoption("benchmark_compare_fail") and not config.getoption(COMPARES_SAVED):
        raise pytest.UsageError(f"--benchmark-compare-fail is of a comparison; add {COMPARES_SAVED}.")


def _refuse_swallowed_paths(config: pytest.Config) -> None:
    for option in OPTIONAL_VALUES:
        for value in _texts(config.getoption(option, None)):
            path = value.partition("::")[0]
            if path and ((config.invocation_params.dir / path).is_dir() or path.endswith(".py")):
                raise pytest.UsageError(
                    f'{option} takes "{value}" for its value, which it need not have; put the path before it: '
                    f"pytest {value} {option}"
                )


def _texts(value: Any) -> list[str]:
    return [each for each in (value if isinstance(value, list) else [value]) if isinstance(each, str)]


def _refuse_processes(config: pytest.Config, mode: str | None) -> None:
    if not uses_several_processes(config):
        return
    kept = next((name for name in KEEPS_TIMES if config.getoption(name) not in (None, False, [])), None)
    if mode is not None or (kept is not None and not config.getoption("benchmark_disable")):
        raise pytest.UsageError(
            f"{mode or kept} is refused with -n, of pytest-xdist, as it measures in this process alone; leave out -n."
        )


def _refuse_lost_files(config: pytest.Config) -> None:
    """What could not be written would be found out when everything is measured."""
    if _texts(config.getoption("--benchmark-histogram")) and importlib.util.find_spec("pygal") is None:
        raise pytest.UsageError("--benchmark-histogram needs pygal, which is not installed; pip install pygal.")
    for option in ("--benchmark-histogram", "--benchmark-cprofile-dump"):
        for prefix in _texts(config.getoption(option)):
            require_writable(option, Path(f"{prefix}-name"))
    require_writable("--benchmark-json", config.getoption("--benchmark-json"), in_one_move=False)
    saves = [name for name in ("--benchmark-autosave", "--benchmark-save") if config.getoption(name) is not None]
    if saves and (folder := saved_to(config)) is not None:
        require_writable(saves[0], folder / "saved.json")
