"""`pytest bench --predict t4`: the predicted time of every case on a GPU that is not at hand.

A case's operators are counted on the CPU, as a GPU would run them, and timed by bench/predict/cost_model.py. The host's
costs are fitted to the study's float32 times; its float16 times are predicted, and both are shown beside the published
ones. The model's form (two clocks, tiles of 64, a share of the peak) was chosen among a dozen with all of these times
in view, so the float16 rows are no blind test. `--predict cpu` measures the peaks of this machine, runs the benchmarks,
too, and compares the predicted order of the precisions with the measured one.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ..workload import workload_of

if TYPE_CHECKING:
    from .predictions import Predictor

PREDICTOR: "pytest.StashKey[Predictor]" = pytest.StashKey()
HERE = "cpu"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("humor-bench predict", "humor-bench: predicted times of other machines")
    group.addoption(
        "--predict", metavar="GPUS", help="t4, a100, h100, l4, rtx-4090, cpu (this machine), or several with commas"
    )
    group.addoption("--predict-widths", metavar="N,...", help="also predict what half precision gains, by width")
    group.addoption("--predict-to", type=Path, metavar="FILE", help="write the prediction as JSON, a file for each GPU")
    group.addoption("--roofline-to", type=Path, metavar="FILE", help="write this machine's roofline (--predict cpu)")


def pytest_configure(config: pytest.Config) -> None:
    option = config.option
    if not option.predict:
        given = next((name for name in ("predict_widths", "predict_to", "roofline_to") if getattr(option, name)), None)
        if given:
            raise pytest.UsageError(f"--{given.replace('_', '-')} is of a prediction; add --predict t4, say.")
        return
    from humor.errors import SettingError

    from .gpus import gpu_named
    from .predictions import Predictor

    names = list(dict.fromkeys(option.predict.split(",")))
    try:
        gpus = {name: gpu_named(name) for name in names if name != HERE}
    except SettingError as error:
        raise pytest.UsageError(str(error)) from None
    option.device = option.device or "cpu"
    if workload_of(config).device.type != "cpu":
        raise pytest.UsageError("--predict counts on the CPU, where counts are the same everywhere; add --device cpu.")
    if option.roofline_to and HERE not in names:
        raise pytest.UsageError("--roofline-to is for the machine that is measured; add cpu to --predict.")
    option.benchmark_disable = HERE not in names
    config.stash[PREDICTOR] = Predictor(workload_of(config), gpus, HERE in names, _widths(option.predict_widths))


def _widths(text: str | None) -> list[int]:
    if text is None:
        return []
    numbers = [int(part) if part.isascii() and part.isdigit() else 0 for part in text.split(",")]
    if not all(1 <= number <= 16 for number in numbers):
        raise pytest.UsageError(f'--predict-widths "{text}"; give whole numbers from 1 to 16, say 1,4,16.')
    return numbers


def predict_if_asked(config: pytest.Config, name: str, precision: str | None, call: Callable[[], Any]) -> None:
    """Count a benchmark's call for --predict, if that is given and the benchmark has a precision to choose."""
    predictor = config.stash.get(PREDICTOR, None)
    if predictor is not None and precision is not None:
        predictor.count(name, precision, call)


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    predictor = config.stash.get(PREDICTOR, None)
    if predictor is None or not predictor.counted:
        return
    from ..harness.output.verdict_table import write_json
    from .tables import lines

    for benchmark in getattr(getattr(config, "_benchmarksession", None), "benchmarks", ()):
        precision = benchmark.extra_info.get("precision")
        if benchmark.stats.rounds and precision is not None:
            predictor.measure(benchmark.name, precision, benchmark.stats.median)
    documents = predictor.documents()
    terminalreporter.section("predicted, not measured")
    for document in documents.values():
        for line in lines(document):
            terminalreporter.write_line(line)
    target = config.getoption("--predict-to")
    for name, document in documents.items():
        if target is not None:
            write_json(target if len(documents) == 1 else target.with_stem(f"{target.stem}-{name}"), document)
    if config.getoption("--roofline-to"):
        write_json(config.getoption("--roofline-to"), predictor.roofline())
