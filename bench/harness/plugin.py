"""Hooks on pytest and pytest-benchmark: which cases run here, with which clock, and what is written beside a time."""

import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

import pytest

from ..cases import Choice, left_out, not_compared, not_lower
from ..workload import workload_of
from .environment.fingerprint_probe import describe_machine
from .output.verdict_table import REFUSED
from .stats.verdict import Rule

if TYPE_CHECKING:
    import torch

LEFT_OUT = pytest.StashKey[Counter[str]]()
COLLECTED = pytest.StashKey[set[str]]()  # every benchmark's name, those left out too
CONCLUDED = pytest.StashKey[bool]()  # a gate came to its exit code
# What a run does instead of timing each case once.
_MODES = ("--predict", "--against", "--pays", "--self-test", "--counts", "--accept-counts", "--calibrate")
TESTS_AND_BENCHMARKS = (
    "run pytest bench and pytest one after the other: tests check the shapes of every call, and that would be measured."
)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("humor-bench cases", "humor-bench: which benchmarks run")
    group.addoption("--quick", action="store_true", help="only the smallest case of each table")
    group.addoption("--full", action="store_true", help="also what takes minutes on a CPU")
    group.addoption("--threads", type=int, metavar="N", help="PyTorch's (default: its own; 1 for --against on a CPU)")
    group.addoption(
        "--execution",
        default="eager",
        choices=["eager", "compile", "cuda-graph"],
        help="how train step, sampling, rollout and fit run (default: eager)",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    given = [name for name in _MODES if config.getoption(name)]
    if len(given) > 1:
        raise pytest.UsageError(f"{given[0]} and {given[1]} exclude each other; leave one out.")
    config.stash[LEFT_OUT] = Counter()
    if config.getoption("--threads"):
        import torch

        torch.set_num_threads(config.getoption("--threads"))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> Generator[None, Any, Any]:
    """Let no exit code but a gate's pass for a verdict: pytest's 3 is an internal error, Python's 1 a traceback."""
    gated = config.getoption("--against") or config.getoption("benchmark_compare")
    if not gated or config.getoption("collectonly"):
        return (yield)
    try:
        code = yield
    except pytest.UsageError:
        raise  # pytest says it, and ends with 4
    except Exception:
        traceback.print_exc()
        return REFUSED
    return code if CONCLUDED in config.stash or code == pytest.ExitCode.INTERRUPTED else REFUSED


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give every benchmark that takes a precision those that the device supports."""
    if _is_benchmark(metafunc.definition) and "precision" in metafunc.fixturenames:
        from humor.precision.presets import PRESETS, Precision

        device = workload_of(metafunc.config).device
        metafunc.parametrize("precision", [name for name in PRESETS if Precision(name).supports(device)])


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    benchmarks = [item for item in items if _is_benchmark(item)]
    if not benchmarks:
        return
    if len(benchmarks) < len(items) and not config.getoption("benchmark_disable"):
        raise pytest.UsageError(TESTS_AND_BENCHMARKS)
    config.stash[COLLECTED] = {item.nodeid for item in benchmarks}
    _use_device_clock(config)
    device = workload_of(config).device.type
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
    if config.getoption("--pays") and (reason := not_lower(params.get("precision"))):
        return reason
    if "case" not in params:
        return None
    name, case = params["case"]
    precision, implementation = params.get("precision", "fp32"), params.get("implementation", "ours")
    choice = Choice(name, case, precision, implementation)
    counting = config.getoption("--counts") or config.getoption("--accept-counts")  # of the same cases everywhere
    emulates = device == "cpu" and not counting and is_emulated(precision)
    suits = workload_of(config).suits_published_loss
    reason = left_out(choice, device, config.getoption("--quick"), config.getoption("--full"), emulates, suits)
    if reason is None and (config.getoption("--against") or config.getoption("--self-test")):
        reason = not_compared(implementation, item.get_closest_marker("sleeps") is not None)
    return reason


def _other_execution(item: pytest.Item, config: pytest.Config) -> str | None:
    execution = config.getoption("--execution")
    if execution == "eager":
        return None
    if "execution" not in getattr(item, "fixturenames", ()):
        return f"--execution {execution} is for train step, sampling, rollout and fit"
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
    from .timing import clock

    session = getattr(config, "_benchmarksession", None)
    if session is not None and workload_of(config).device.type != "cpu":
        session.options["timer"].target = clock.device_timer


@pytest.fixture
def measure(benchmark: Any, workload: Any, pytestconfig: pytest.Config) -> Callable[..., Any]:
    """A function (call, group, eager=None, **info) that measures a call and writes its work beside the time.

    The work is counted in a first run, which also warms up whatever starts slowly. What is compiled or recorded hides
    its work: then that of `eager`, the same call operator by operator, is counted. For `answer` and `phases` see
    `versions.Built`.
    """
    from ..predict.predict_mode import predict_if_asked
    from .counters.operators import count_work
    from .modes.counts_mode import count_if_asked

    def run(
        call: Callable[[], Any],
        group: str,
        eager: Callable[[], Any] | None = None,
        answer: Callable[[], Any] | None = None,
        phases: Callable[[], Any] | None = None,
        **info: Any,
    ) -> Any:
        benchmark.group = group
        benchmark.extra_info.update(
            device=str(workload.device), body=workload.body_name, motion=workload.motion_name, **info
        )
        if not benchmark.enabled:
            result = benchmark(call)
            count_if_asked(pytestconfig, benchmark.fullname, call)
            predict_if_asked(pytestconfig, benchmark.name, info.get("precision"), eager or call)
            return result
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            start = time.perf_counter()
            work = count_work(call if eager is None else eager)
            if eager is not None:
                call()
            counted = time.perf_counter() - start
        predict_if_asked(pytestconfig, benchmark.name, info.get("precision"), eager or call)
        benchmark.extra_info.update(flops=work.flops, bytes=work.bytes, operators=work.operators)
        most = float(pytestconfig.getoption("benchmark_max_time"))
        if counted > most and _seconds(call) > most:
            # One call is a round: spare the runs that would find out how many calls make one.
            return benchmark.pedantic(call, rounds=pytestconfig.getoption("benchmark_min_rounds"))
        return benchmark(call)

    return run


def _seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    machine = describe_machine(str(workload_of(config).device))
    del machine["when"]  # pytest-benchmark warns where runs differ
    machine_info.update(machine)


def pytest_report_header(config: pytest.Config) -> list[str]:
    workload = workload_of(config)
    machine = describe_machine(str(workload.device))
    return [
        f"humor-bench: {machine['device']}, {machine['threads']} threads, PyTorch {machine['torch']}; "
        f"body: {workload.body_name}; motion: {workload.motion_name}",
        *(f"passed over: {problem}" for problem in workload.passed_over),
    ]


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    for benchmark in getattr(getattr(config, "_benchmarksession", None), "benchmarks", ()):
        frames = benchmark.extra_info.get("frames")
        if frames and benchmark.stats.rounds:
            terminalreporter.write_line(f"{benchmark.name}: {frames / benchmark.stats.median:,.0f} frames/s")
    for reason, count in config.stash[LEFT_OUT].most_common():
        terminalreporter.write_line(f"left out: {count} benchmarks ({reason})")


def is_emulated(precision: str | None) -> bool:
    """Whether PyTorch multiplies in a precision without the CPU's libraries."""
    from humor.precision import cpu_half_emulation
    from humor.precision.presets import Precision

    kind = None if precision is None else Precision(precision).preset.autocast
    return kind is not None and cpu_half_emulation.needs_emulation(kind)


def rule_of(config: pytest.Config, cases: int) -> Rule:
    """What counts as a change in this run, over so many cases. Raises UsageError."""
    return Rule(
        percentage(config.getoption("--slower-than")), percentage(config.getoption("--error-rate")), max(cases, 1)
    )


def threads_of(config: pytest.Config, device: "torch.device") -> int | None:
    """How many threads a comparison uses; None for PyTorch's own choice."""
    return config.getoption("--threads") or (1 if device.type == "cpu" else None)


def percentage(text: str) -> float:
    """A share of an option: 3% or 0.03. Raises UsageError."""
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        share = 0.0
    if not 0 < share < 1:
        raise pytest.UsageError(f'"{text}" is no share between 0 and 100 %; give, say, 3%.')
    return share
