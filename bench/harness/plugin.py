"""Hooks on pytest and pytest-benchmark: which cases run here, with which clock, and what is written beside a time."""

import time
import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from ..cases import Choice, left_out
from .setup import setup_of

LEFT_OUT = pytest.StashKey[Counter[str]]()
TESTS_AND_BENCHMARKS = (
    "run pytest bench and pytest one after the other: tests check the shapes of every call, and that would be measured."
)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("humor-bench cases", "humor-bench: which benchmarks run")
    group.addoption("--quick", action="store_true", help="only the smallest case of each table")
    group.addoption("--full", action="store_true", help="also what takes minutes on a CPU")
    group.addoption(
        "--execution",
        default="eager",
        choices=["eager", "compile", "cuda-graph"],
        help="how train step, sampling and rollout run (default: eager)",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[LEFT_OUT] = Counter()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give every benchmark that takes a precision those that the device supports."""
    if _is_benchmark(metafunc.definition) and "precision" in metafunc.fixturenames:
        from humor.precision import PRESETS, Precision

        device = setup_of(metafunc.config).device
        metafunc.parametrize("precision", [name for name in PRESETS if Precision(name).supports(device)])


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    benchmarks = [item for item in items if _is_benchmark(item)]
    if not benchmarks:
        return
    if len(benchmarks) < len(items) and not config.getoption("benchmark_disable"):
        raise pytest.UsageError(TESTS_AND_BENCHMARKS)
    _use_device_clock(config)
    device = setup_of(config).device.type
    kept, dropped = [], []
    for item in items:
        reason = _reason(item, device, config) or _other_execution(item, config) if _is_benchmark(item) else None
        if reason:
            config.stash[LEFT_OUT][reason] += 1
            dropped.append(item)
        else:
            kept.append(item)
        if _is_benchmark(item):
            item.add_marker(pytest.mark.filterwarnings("default"))  # another PyTorch's news must not stop a measurement
    if dropped:
        config.hook.pytest_deselected(items=dropped)
        items[:] = kept


def _is_benchmark(item: pytest.Item) -> bool:
    return item.path.name.startswith("bench_")


def _reason(item: pytest.Item, device: str, config: pytest.Config) -> str | None:
    params: dict[str, Any] = (
        item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
    )
    if "case" not in params:
        return None
    name, size = params["case"]
    precision, implementation = params.get("precision", "fp32"), params.get("implementation", "ours")
    choice = Choice(name, size.full_only, precision, implementation, size.rows, size.has_weights)
    return left_out(choice, device, config.getoption("--quick"), config.getoption("--full"))


def _other_execution(item: pytest.Item, config: pytest.Config) -> str | None:
    execution = config.getoption("--execution")
    if execution == "eager":
        return None
    if "execution" not in getattr(item, "fixturenames", ()):
        return f"--execution {execution} is for train step, sampling and rollout"
    params = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
    if params.get("implementation") == "published":
        return "the published loss reads values from the device, so that it runs eagerly alone"
    return None


@pytest.fixture(scope="session")
def execution(pytestconfig: pytest.Config) -> str:
    """How a benchmark that takes it runs its call."""
    return str(pytestconfig.getoption("--execution"))


def _use_device_clock(config: pytest.Config) -> None:
    """Have pytest-benchmark read a clock that waits for the device."""
    from . import timing

    session = getattr(config, "_benchmarksession", None)
    if session is not None and setup_of(config).device.type != "cpu":
        session.options["timer"].target = timing.device_timer


@pytest.fixture
def measure(benchmark: Any, run_setup: Any, pytestconfig: pytest.Config) -> Callable[..., Any]:
    """A function (call, group, eager=None, **info) that measures a call and writes its work beside the time.

    The work is counted in a first run, which also warms up whatever starts slowly. What is compiled or recorded hides
    its work: then that of `eager`, the same call operator by operator, is counted.
    """
    from .counters import count_work

    def run(call: Callable[[], Any], group: str, eager: Callable[[], Any] | None = None, **info: Any) -> Any:
        benchmark.group = group
        benchmark.extra_info.update(
            device=str(run_setup.device), body=run_setup.body_name, motion=run_setup.motion_name, **info
        )
        if not benchmark.enabled:
            return benchmark(call)
        start = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            work = count_work(call if eager is None else eager)
            if eager is not None:
                call()
        benchmark.extra_info.update(flops=work.flops, bytes=work.bytes, operators=work.operators)
        if time.perf_counter() - start > float(pytestconfig.getoption("benchmark_max_time")):
            # One call is a round: spare the runs that would find out how many calls make one.
            return benchmark.pedantic(call, rounds=pytestconfig.getoption("benchmark_min_rounds"))
        return benchmark(call)

    return run


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    import torch

    device = setup_of(config).device
    machine_info["torch"] = torch.__version__
    machine_info["threads"] = torch.get_num_threads()
    machine_info["device"] = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def pytest_report_header(config: pytest.Config) -> list[str]:
    import torch

    setup = setup_of(config)
    device = torch.cuda.get_device_name(setup.device) if setup.device.type == "cuda" else "cpu"
    return [
        f"humor-bench: {device}, {torch.get_num_threads()} threads, PyTorch {torch.__version__}; "
        f"body: {setup.body_name}; motion: {setup.motion_name}",
        *(f"passed over: {problem}" for problem in setup.passed_over),
    ]


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    for benchmark in getattr(getattr(config, "_benchmarksession", None), "benchmarks", ()):
        frames = benchmark.extra_info.get("frames")
        if frames and benchmark.stats.rounds:
            terminalreporter.write_line(f"{benchmark.name}: {frames / benchmark.stats.median:,.0f} frames/s")
    for reason, count in config.stash[LEFT_OUT].most_common():
        terminalreporter.write_line(f"left out: {count} benchmarks ({reason})")
