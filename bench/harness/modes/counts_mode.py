"""`pytest bench --counts`: what every case does, counted and compared exactly with `bench/counts/*.json`.

No clock takes part, so the gate says the same on every machine with the same PyTorch. A call runs once to warm up, and
is counted in the runs after it. On CUDA kernel launches and waits are printed instead, and compared with nothing.

Exit codes: 0 equal; 1 a number changed, up or down; 4 refused, with a sentence that says why.
"""

import warnings
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ...cases import QUICK
from ...workload import workload_of
from ..counters.counts_file import (
    CountsError,
    CountsFile,
    describe_changes,
    describe_unmatched,
    merge_counts,
    read_counts,
    torch_version,
    write_counts,
)
from ..output.verdict_table import REFUSED
from ..plugin import LEFT_OUT, _is_benchmark, is_emulated

EQUAL, CHANGED = 0, 1  # exit codes, beside REFUSED
FOLDER = Path(__file__).parents[2] / "counts"
OURS = ("ours", "store", "file for each window")
UNCOUNTED_FILES = ("precision/cpu_half_emulation.py",)  # some CPUs need it, others do not
_NOT_WITH = {"--motion": "motion", "--body-model": "body_model", "--full": "full"}
Key = tuple[str, str]  # a benchmark's file and name: ("bench_linear", "bench_linear[fp32-1024-forward]")


@dataclass
class Tally:
    """What a counting run found."""

    accept: bool
    chosen: dict[Key, bool] = field(default_factory=dict)  # to be counted, and whether with graph breaks
    known: dict[str, set[str] | None] = field(default_factory=dict)  # each file's cases; None: only some were looked at
    counts: dict[str, CountsFile] = field(default_factory=dict)
    on_device: dict[Key, Counter[str]] = field(default_factory=dict)  # on CUDA
    lines: list[str] = field(default_factory=list)  # to be printed


TALLY = pytest.StashKey[Tally]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("humor-bench counts", "humor-bench: what is done, counted without a clock")
    group.addoption("--counts", action="store_true", help="time nothing: compare what is done with bench/counts")
    group.addoption("--accept-counts", action="store_true", help="the same, and write what changed to bench/counts")


def pytest_configure(config: pytest.Config) -> None:
    option = config.option
    if not (option.counts or option.accept_counts):
        return
    for name, attribute in _NOT_WITH.items():
        if getattr(option, attribute):
            raise pytest.UsageError(f"--counts counts what every clone has and a CPU does soon; leave {name} out.")
    config.stash[TALLY] = Tally(option.accept_counts)
    option.benchmark_disable = True
    if option.device is None and not option.require_cuda:
        option.device = "cpu"


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Iterator[None]:
    """Leave out what is not counted, when -k and the suite's rules have chosen."""
    tally = config.stash.get(TALLY, None)
    if tally is None:
        return (yield)
    if not all(_is_benchmark(item) for item in items):
        raise pytest.UsageError("--counts is for benchmarks alone; run pytest bench --counts, and pytest after it.")
    keys, some = [_key(item) for item in items], any("::" in argument for argument in config.args)
    tally.known = {of: None if some else {case for file, case in keys if file == of} for of, _ in keys}
    yield
    dropped = {item: reason for item in items if (reason := not_counted(_params(item)))}
    items[:] = [item for item in items if item not in dropped]
    config.stash[LEFT_OUT].update(dropped.values())
    config.hook.pytest_deselected(items=list(dropped))
    tally.chosen = {_key(item): counts_breaks(_params(item)) for item in items}
    if workload_of(config).device.type == "cpu":
        try:
            for file in sorted({file for file, _ in tally.chosen}):
                _before(file, tally.accept)
        except CountsError as error:  # before anything is run
            raise pytest.UsageError(str(error)) from None
    elif tally.accept:
        raise pytest.UsageError("--accept-counts is for a CPU, where counts are the same everywhere; add --device cpu.")


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, Any, Any]:
    """Count half precision that this CPU lacks at float32's speed: what is dispatched does not depend on it."""
    from humor.precision.cpu_half_emulation import emulate_half_on_cpu

    counts = TALLY in pyfuncitem.config.stash
    with emulate_half_on_cpu() if counts and is_emulated(_params(pyfuncitem).get("precision")) else nullcontext():
        return (yield)


def not_counted(params: Mapping[str, Any]) -> str | None:
    """Why a benchmark that runs here is not counted, or None."""
    if params.get("implementation", "ours") not in OURS:
        return "not counted: what others do changes with their versions"
    if "prefetch" in params:
        return "not counted: it sleeps, and works in threads"
    return None


def counts_breaks(params: Mapping[str, Any]) -> bool:
    """Whether graph breaks are counted: where there is a precision to choose, for fp32 and a table's smallest case.

    They come from the code, not from sizes and number formats; and nobody compiles the reading of files.
    """
    return params.get("precision") == "fp32" and params["case"][0] in QUICK


def count_if_asked(config: pytest.Config, nodeid: str, call: Callable[[], Any]) -> None:
    """Count a warm call for the benchmark of a node, if --counts is given."""
    tally = config.stash.get(TALLY, None)
    if tally is None:
        return
    import humor

    from ..counters.cuda_launches import count_cuda_launches
    from ..counters.python_calls import count_call

    file, case = _split(nodeid)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if workload_of(config).device.type == "cuda":
            tally.on_device[file, case] = count_cuda_launches(call)
        else:
            counts = count_call(call, tally.chosen[file, case], Path(humor.__file__).parent, UNCOUNTED_FILES)
            tally.counts.setdefault(file, CountsFile(_torch_here())).cases[case] = counts


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    tally = session.config.stash.get(TALLY, None)
    finished = (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED)
    if tally is None or exitstatus not in finished or session.config.option.collectonly:
        return
    try:
        session.exitstatus = _verdict(tally, failed=exitstatus == pytest.ExitCode.TESTS_FAILED)
    except CountsError as error:
        tally.lines.append(f"refused: {error}")
        session.exitstatus = REFUSED


def _verdict(tally: Tally, failed: bool) -> int:
    """Compare, or write if that is asked for; raises CountsError where either would hide something."""
    counted = {(file, case) for file, counts in tally.counts.items() for case in counts.cases} | tally.on_device.keys()
    lacking = sorted(case for _, case in tally.chosen.keys() - counted)
    if failed or lacking:
        which = ", ".join(lacking) or "a benchmark"
        raise CountsError(f"{which} failed or was skipped, as said above; mend that and run again.")
    if not counted:
        raise CountsError("nothing was counted; choose benchmarks that are counted, as pytest bench --counts does.")
    before = {file: _before(file, tally.accept) for file in sorted(tally.counts)}
    changed = [line for file, old in before.items() for line in describe_changes(old, tally.counts[file])]
    odd = [
        line for file, old in before.items() for line in describe_unmatched(old, tally.counts[file], tally.known[file])
    ]
    orphans = [path for path in sorted(FOLDER.glob("*.json")) if not (FOLDER.parent / f"{path.stem}.py").exists()]
    odd += [f"{path.stem}: has counts, but is no benchmark any more" for path in orphans]
    tally.lines += changed + odd
    if tally.accept:
        merged = {file: merge_counts(old, tally.counts[file], tally.known[file]) for file, old in before.items()}
        for file, counts in merged.items():
            write_counts(FOLDER / f"{file}.json", counts)
        for path in orphans:
            path.unlink()
        tally.lines.append(f"counts of {len(counted)} cases accepted")
        return EQUAL
    if odd:
        raise CountsError("some cases cannot be compared; if that is meant, run pytest bench --accept-counts.")
    if changed:
        tally.lines.append("counts changed; if that is meant, run pytest bench --accept-counts and commit the files.")
        return CHANGED
    tally.lines.append(f"counts of {len(counted)} cases: all equal" if tally.counts else "on a device: not compared")
    return EQUAL


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    tally = config.stash.get(TALLY, None)
    if tally is None:
        return
    for line in tally.lines:
        terminalreporter.write_line(line)
    for (_, case), launches in tally.on_device.items():
        terminalreporter.write_line(f"{case}: {', '.join(f'{number} {name}' for name, number in launches.items())}")


def _before(file: str, accept: bool) -> CountsFile:
    """The repository's counts of a file: nothing, or another PyTorch's, only where they are to be replaced."""
    path = FOLDER / f"{file}.json"
    if accept:
        return read_counts(path) if path.exists() else CountsFile(_torch_here())
    return read_counts(path, _torch_here())


def _torch_here() -> str:
    import torch

    return torch_version(torch.__version__)


def _params(item: pytest.Item) -> Mapping[str, Any]:
    return item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}


def _key(item: pytest.Item) -> Key:
    return _split(item.nodeid)


def _split(nodeid: str) -> Key:
    path, _, name = nodeid.partition("::")
    return Path(path).stem, name
