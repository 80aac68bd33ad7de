"""`pytest bench --predict t4`: the predicted time of every case on a GPU that is not at hand.

A case's operators are counted on the CPU, as a GPU would run them, and timed by bench/predict/cost_model.py. The host's
costs are fitted to the study's float32 times; its float16 times are predicted, and both are shown beside the published
ones. The model's form (two clocks, tiles of 64, a share of the peak) was chosen among a dozen with all of these times
in view, so the float16 rows are no blind test. `--predict cpu` measures the peaks of this machine, runs the benchmarks,
too, and compares the predicted order of the precisions with the measured one.
"""

from collections.abc import Sequence

import pytest

from ..harness.case import BenchmarkCase
from ..harness.modes.mode import Mode
from ..harness.output.files import require_writable, write_json
from ..harness.pytest_benchmark_adapter import timed_benchmarks
from ..harness.quantities import file_path
from ..harness.session import device_of, project_of, workload_of, workload_options
from ..harness.versions.loaded_version import LoadedVersion

HERE = "cpu"
TITLE = "predicted, not measured"
NOT_ALONE = ("--predict-widths", "--predict-to", "--roofline-to")


class PredictMode(Mode):
    """The predictions of a run's cases."""

    flags = ("--predict",)

    @classmethod
    def add_options(cls, parser: pytest.Parser) -> None:
        group = parser.getgroup("humor-bench predict", "humor-bench: predicted times of other machines")
        group.addoption(
            "--predict", metavar="GPUS", help="t4, a100, h100, l4, rtx-4090, cpu (this machine), or several with commas"
        )
        group.addoption("--predict-widths", metavar="N,...", help="also predict what half precision gains, by width")
        group.addoption(
            "--predict-to", type=file_path, metavar="FILE", help="write the prediction as JSON, a file for each GPU"
        )
        group.addoption(
            "--roofline-to", type=file_path, metavar="FILE", help="write this machine's roofline (--predict cpu)"
        )

    @classmethod
    def check_not_chosen(cls, config: pytest.Config) -> None:
        given = next((name for name in NOT_ALONE if config.getoption(name) is not None), None)
        if given is not None:
            raise pytest.UsageError(f"{given} is of a prediction; add --predict t4, say.")

    def __init__(self, config: pytest.Config) -> None:
        from humor.errors import SettingError

        from .gpus import gpu_named
        from .predictions import Predictor

        super().__init__(config)
        self.printed: list[str] = []
        names = list(dict.fromkeys(config.getoption("--predict").split(",")))
        try:
            gpus = {name: gpu_named(name) for name in names if name != HERE}
        except SettingError as error:
            raise pytest.UsageError(str(error)) from None
        config.option.device = config.option.device or "cpu"
        if device_of(config).type != "cpu":
            raise pytest.UsageError(
                "--predict counts on the CPU, where counts are the same everywhere; add --device cpu."
            )
        self.times_too = HERE in names
        for option in ("--predict-to", "--roofline-to"):
            require_writable(option, config.getoption(option))
        if config.getoption("--roofline-to") is not None and not self.times_too:
            raise pytest.UsageError("--roofline-to is for the machine that is measured; add cpu to --predict.")
        self.predictor = Predictor(
            workload_of(config), gpus, self.times_too, _widths(config.getoption("--predict-widths"))
        )

    def start(self, cases: Sequence[BenchmarkCase]) -> None:
        self.version = LoadedVersion(project_of(self.config), workload_options(self.config))

    def measure(self, case: BenchmarkCase) -> None:
        if case.precision is not None:
            built = self.version.build(case.id)
            self.predictor.count(case.name, case.precision, built.eager or built.call)

    def finish(self, status: int) -> int:
        self._conclude()
        return status

    def interrupted(self) -> None:
        self._conclude()

    def lines(self) -> list[str]:
        return self.printed

    def _conclude(self) -> None:
        """Predict, and write what is to be written."""
        from .tables import lines

        if not self.predictor.counted:
            return
        for benchmark in timed_benchmarks(self.config):
            if (precision := benchmark.extra_info.get("precision")) is not None:
                self.predictor.measure(benchmark.name, precision, benchmark.stats.median)
        documents = self.predictor.documents()
        self.title, self.printed = TITLE, [line for document in documents.values() for line in lines(document)]
        target = self.config.getoption("--predict-to")
        for name, document in documents.items():
            if target is not None:
                write_json(target if len(documents) == 1 else target.with_stem(f"{target.stem}-{name}"), document)
        if self.config.getoption("--roofline-to") is not None:
            write_json(self.config.getoption("--roofline-to"), self.predictor.roofline())


def _widths(text: str | None) -> list[int]:
    if text is None:
        return []
    numbers = [int(part) if part.isascii() and part.isdigit() else 0 for part in text.split(",")]
    if not all(1 <= number <= 16 for number in numbers):
        raise pytest.UsageError(f'--predict-widths "{text}"; give whole numbers from 1 to 16, say 1,4,16.')
    return numbers
