"""A pytest plugin over pytest-benchmark: which cases run here, with which clock, and what is written beside a time.

A project's conftest.py names this module in `pytest_plugins`, and gives its `Project` by the hook
`pytest_bench_project`. Benchmarks are functions in files bench_*.py that call the fixture `measure`.
"""

import sys
import time
import traceback
import types
import warnings
from collections import Counter
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

import pytest

from .case import BenchmarkCase, case_of, is_benchmark
from .output.verdict_table import REFUSED
from .project import HookSpecs, Project, Run
from .pytest_benchmark_adapter import show_table_once, timed_benchmarks, use_timer
from .session import COLLECTED, CONCLUDED, LEFT_OUT, device_of, project_of, workload_of

if TYPE_CHECKING:
    import torch

# The driver comes after the modes that it imports: pytest must see a plugin before anything else imports it.
pytest_plugins = [f"{__package__}.modes.{name}" for name in ("compare_saved", "driver")]
TESTS_AND_BENCHMARKS = (
    "run pytest bench and pytest one after the other: tests check the shapes of every call, and that would be measured."
)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    pluginmanager.add_hookspecs(HookSpecs)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("bench cases", "benchmarks: which run, and on what")
    group.addoption("--quick", action="store_true", help="only the smallest case of each table")
    group.addoption("--full", action="store_true", help="also what takes minutes on a CPU")
    group.addoption("--device", help="cpu, cuda or cuda:N (default: cuda where there is one, else cpu)")
    group.addoption("--machine", metavar="NAME", help="what this machine is called, where its host name does not last")
    group.addoption("--require-cuda", action="store_true", help="fail unless there is a CUDA device, and skip nothing")
    group.addoption(
        "--threads",
        type=int,
        metavar="N",
        help="of PyTorch (default: PyTorch's; where versions or precisions are compared on a CPU, 1)",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "sleeps: its time is mostly a pause, so that no two versions are compared by it")
    config.addinivalue_line("markers", 'slower_than("5%"): the smallest slowdown of it that matters, for --against')
    config.stash[LEFT_OUT] = Counter()
    config.pluginmanager.register(_fixtures_of(project_of(config)), "bench-fixtures")
    if config.getoption("--threads") is not None:
        import torch

        torch.set_num_threads(config.getoption("--threads"))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> Generator[None, Any, Any]:
    """Let only a verdict's exit code pass for one: pytest's 3 is an internal error, Python's 1 a traceback."""
    from .modes.driver import gate_flag
    from .modes.refusals import names_suite

    flag = gate_flag(config)
    if config.getoption("collectonly") or not (flag or names_suite(config)):
        return (yield)
    try:
        code = yield
    except pytest.UsageError:
        raise  # pytest prints it, and ends with 4
    except Exception:
        traceback.print_exc()
        code = pytest.ExitCode.INTERNAL_ERROR
    else:
        if CONCLUDED in config.stash or code in (pytest.ExitCode.INTERRUPTED, pytest.ExitCode.USAGE_ERROR):
            return code
    if flag is None and code != pytest.ExitCode.INTERNAL_ERROR:
        return code
    what = "an error of pytest or of a plugin, shown above," if code == pytest.ExitCode.INTERNAL_ERROR else "pytest"
    print(f"refused: {what} ended the run before {flag or 'it'} had come to its end.", file=sys.stderr)  # noqa: T201
    return REFUSED


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    show_table_once(session.config)
    workload_of(session.config)  # a mistake in an option ends the run before anything is collected


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give every benchmark that takes a precision those that the device supports."""
    precisions = project_of(metafunc.config).precisions
    if precisions and is_benchmark(metafunc.definition) and "precision" in metafunc.fixturenames:
        metafunc.parametrize("precision", precisions.supported(device_of(metafunc.config)))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    from .modes.driver import MODE, gate_flag
    from .modes.refusals import for_benchmarks_alone

    benchmarks = [item for item in items if is_benchmark(item)]
    if not benchmarks:
        flag = gate_flag(config)
        if items and flag is not None:
            raise for_benchmarks_alone(config, flag)
        return
    mode = config.stash.get(MODE, None)
    if len(benchmarks) < len(items) and (mode is not None or not config.getoption("benchmark_disable")):
        raise pytest.UsageError(TESTS_AND_BENCHMARKS)
    config.stash[COLLECTED] = {item.nodeid for item in benchmarks}
    if device_of(config).type != "cpu":
        from .timing.clock import device_timer

        use_timer(config, device_timer)
    dropped = {item: reason for item in benchmarks if (reason := _left_out(config, case_of(item)))}
    for item in benchmarks:
        item.add_marker(pytest.mark.filterwarnings("default"))  # another PyTorch's news must not stop a measurement
    if dropped:
        config.stash[LEFT_OUT].update(dropped.values())
        config.hook.pytest_deselected(items=list(dropped))
        items[:] = [item for item in items if item not in dropped]


def _left_out(config: pytest.Config, case: BenchmarkCase) -> str | None:
    """Why a case is not run, or None."""
    from .modes.driver import MODE, chosen_flag

    mode, option = config.stash.get(MODE, None), config.getoption
    run = Run(device_of(config), workload_of(config), chosen_flag(config), option("--quick"), option("--full"), option)
    return project_of(config).left_out(case, run) or (mode.left_out(case) if mode is not None else None)


@pytest.fixture(scope="session")
def workload(pytestconfig: pytest.Config) -> Any:
    """What the command line chose for benchmarks to work on."""
    return workload_of(pytestconfig)


@pytest.fixture(scope="session")
def device(pytestconfig: pytest.Config) -> "torch.device":
    """The device under test."""
    return device_of(pytestconfig)


@pytest.fixture(scope="session")
def dtype() -> "torch.dtype":
    """The format of what benchmarks make. --compare-precisions also makes it in float64, to compare answers with."""
    import torch

    return torch.float32


def _fixtures_of(project: Project) -> types.ModuleType:
    """The project's fixtures, as a plugin."""
    plugin = types.ModuleType("bench_fixtures")
    for name, make in project.fixtures.items():

        def made(workload: Any, make: Callable[[Any], Any] = make) -> Any:
            return make(workload)

        setattr(plugin, name, pytest.fixture(scope="session", name=name)(made))
    return plugin


@pytest.fixture
def measure(benchmark: Any, workload: Any, device: Any, pytestconfig: pytest.Config) -> Callable[..., Any]:
    """A function (call, group, eager=None, **info) that measures a call and writes its work beside the time.

    The work is counted in a first run, which also warms up whatever starts slowly. What is compiled or recorded hides
    its work: then that of `eager`, the same call operator by operator, is counted. For `answer` and `phases` see
    `BenchmarkCall`.
    """
    from .counters.operators import count_work

    def run(
        call: Callable[[], Any],
        group: str,
        eager: Callable[[], Any] | None = None,
        answer: Callable[[], Any] | None = None,
        phases: Callable[[], Any] | None = None,
        **info: Any,
    ) -> Any:
        benchmark.group = group
        benchmark.extra_info.update(device=str(device), **project_of(pytestconfig).describe(workload), **info)
        if not benchmark.enabled:
            return benchmark(call)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            start = time.perf_counter()
            work = count_work(call if eager is None else eager)
            if eager is not None:
                call()
            counted = time.perf_counter() - start
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
    import torch

    machine_info["torch"] = torch.__version__
    machine_info["threads"] = torch.get_num_threads()
    machine_info["device"] = _device_name(config)


def pytest_report_header(config: pytest.Config) -> list[str]:
    import torch

    project, workload = project_of(config), workload_of(config)
    software = f"{_device_name(config)}, {torch.get_num_threads()} threads, PyTorch {torch.__version__}"
    described = [f"{name}: {value}" for name, value in project.describe(workload).items()]
    return [f"{project.name}: {'; '.join([software, *described])}", *project.notes(workload)]


def _device_name(config: pytest.Config) -> str:
    import torch

    device = device_of(config)
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    for benchmark in timed_benchmarks(config):
        for rate in project_of(config).rates:
            if count := benchmark.extra_info.get(rate):
                per_second = f"{count / benchmark.stats.median:,.0f} {rate}/s"
                terminalreporter.write_line(f"{benchmark.name}: {per_second}")
    for reason, count in config.stash[LEFT_OUT].most_common():
        terminalreporter.write_line(f"left out: {count} benchmarks ({reason})")
