"""A run's predictions as JSON documents: cases, the study's tables, wider networks, this machine's roofline."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from typing import Any

import torch

from humor import HumorModel, Precision
from humor.study.published import PUBLISHED_TIMES, PublishedTime

from ..harness.counters.operators import Operator
from ..harness.environment.fingerprint_probe import describe_machine
from ..harness.stats.precision_verdict import name_without_precision
from ..workload import Workload
from .cost_model import RATE_OF, Machine, as_fp8, concordant_pairs, fit_host, predict, with_tf32
from .gpus import ACHIEVED, GPUS, Gpu
from .machine_peaks import measure_this_machine
from .study_operators import StudyOperators, as_on_a_gpu, is_fitted, warm_operators

HERE = "this machine"
STUDY_GPU = "t4"
WINDOWS = (8, 50, 200)  # batches of the steps whose width is varied
WEIGHT_BYTES = 16  # of a parameter, its gradient and the optimizer's two averages
PAYS = 1.1  # times as fast, at least
Document = dict[str, Any]
Predictable = tuple[str, list[Operator], Machine]


class Predictor:
    """Counts the cases of a run, and predicts their times."""

    def __init__(self, workload: Workload, gpus: Mapping[str, Gpu], here: bool, widths: Sequence[int]) -> None:
        self.gpus, self.measures_here, self.widths = gpus, here, widths
        self.study = StudyOperators(workload)
        self.counted: dict[str, dict[str, dict[str, list[Operator]]]] = {}  # case, precision, "gpu" or "here"
        self.measured: dict[str, dict[str, float]] = {}  # case, precision: seconds

    def count(self, name: str, precision: str, call: Callable[[], Any]) -> None:
        """Count a case's operators as a GPU would run them, as this machine runs them, or both."""
        operators = self.counted.setdefault(name_without_precision(name, precision), {}).setdefault(precision, {})
        if self.gpus:
            with as_on_a_gpu():
                operators["gpu"] = warm_operators(call)
        if self.measures_here:
            operators["here"] = warm_operators(call)

    def measure(self, name: str, precision: str, seconds: float) -> None:
        """Keep the time that a case took on this machine."""
        self.measured.setdefault(name_without_precision(name, precision), {})[precision] = seconds

    @cached_property
    def here(self) -> Machine:
        """This machine, measured when first asked for."""
        return measure_this_machine()

    @cached_property
    def host(self) -> Machine:
        """The study's machine: a T4 behind a host whose costs fit the published float32 times."""
        rows = [
            (self.study.phase(time.phase, time.width, time.precision), time.milliseconds / 1000)
            for time in PUBLISHED_TIMES
            if is_fitted(time)
        ]
        return fit_host(GPUS[STUDY_GPU].machine(0.0, 0.0), rows)

    def machine_of(self, gpu: Gpu) -> Machine:
        """A GPU behind the study's host."""
        return gpu.machine(self.host.dispatch, self.host.launch)

    def documents(self) -> dict[str, Document]:
        """A prediction for each GPU, and for this machine, by the name that `--predict` gave."""
        documents = {name: self._of_gpu(name, gpu) for name, gpu in self.gpus.items()}
        return {**documents, "cpu": self._of_here()} if self.measures_here else documents

    def _of_gpu(self, name: str, gpu: Gpu) -> Document:
        machine = self.machine_of(gpu)
        cases = [
            _predicted_case(case, *each)
            for case, precisions in self.counted.items()
            for precision, operators in precisions.items()
            for each in variants(precision, operators["gpu"], machine)
        ]
        known = {"sheet": gpu.sheet, "achieved": ACHIEVED, "fitted": "the study's float32 numbers"}
        document = _document("prediction", gpu=name, constants={**asdict(machine), **known}, cases=cases)
        document["published"] = (
            [self._published(time, machine) for time in PUBLISHED_TIMES] if name == STUDY_GPU else []
        )
        document["widths"] = [
            line for loss in ("ours", "published") for windows in WINDOWS for line in self._widths(loss, windows, gpu)
        ]
        return document

    def _published(self, time: PublishedTime, machine: Machine) -> Document:
        predicted = predict(self.study.phase(time.phase, time.width, time.precision), machine).seconds
        named = {name: getattr(time, name) for name in ("table", "width", "phase", "precision")}
        numbers = {"published_ms": time.milliseconds, "predicted_ms": 1000 * predicted}
        return {**named, "fitted": is_fitted(time), **numbers}

    def _widths(self, loss: str, windows: int, gpu: Gpu) -> list[Document]:
        """The predicted speed-up of a whole step over float32, by width, for each precision."""
        machine = self.machine_of(gpu)
        rows: dict[str, dict[int, float | None]] = {}
        for width in self.widths:
            seconds = {
                name: predict(operators, at).seconds
                for precision in ("fp32", "fp16", "bf16")
                for name, operators, at in self._step_variants(loss, width, windows, precision, machine)
            }
            for name, taken in seconds.items():
                fits = WEIGHT_BYTES * _parameters(width) <= gpu.memory
                rows.setdefault(name, {})[width] = seconds["fp32"] / taken if fits else None
        common = {"loss": loss, "windows": windows}
        return [
            {**common, "precision": name, "speedup": speedups, "pays_from": pays_from(speedups)}
            for name, speedups in rows.items()
            if name != "fp32"
        ]

    def _step_variants(
        self, loss: str, width: int, windows: int, precision: str, machine: Machine
    ) -> list[Predictable]:
        if precision not in machine.rates:
            return []
        operators = self.study.step(loss, width, windows, precision)
        found = variants(precision, operators, machine)
        if precision == "bf16" and "fp8" in machine.rates:
            found.append(("fp8", as_fp8(operators), machine))
        return found

    def _of_here(self) -> Document:
        machine = self.here
        cases = [
            _predicted_case(case, precision, found["here"], machine)
            | {"measured": self.measured.get(case, {}).get(precision)}
            for case, precisions in self.counted.items()
            for precision, found in precisions.items()
        ]
        pairs = {case: self._ordered(case, cases) for case in self.counted}
        alike, count = (sum(each[part] for each in pairs.values()) for part in (0, 1))
        document = _document("prediction", gpu=HERE, constants=asdict(machine), cases=cases, published=[], widths=[])
        return {**document, "order": {"alike": alike, "pairs": count, "cases": pairs}}

    def _ordered(self, case: str, cases: list[Document]) -> tuple[int, int]:
        predicted = {row["precision"]: row["predicted"] for row in cases if row["case"] == case}
        return concordant_pairs(predicted, self.measured.get(case, {}))

    def roofline(self) -> Document:
        """This machine's peaks, and where each case that was measured lies under them."""
        points = [
            {"case": row["case"], "precision": row["precision"], "flops": row["flops"], "bytes": row["bytes"],
             "seconds": row["measured"]}
            for row in self._of_here()["cases"]
            if row["measured"] is not None
        ]  # fmt: skip
        return _document("roofline", peaks=dict(self.here.rates), bandwidth=self.here.bandwidth, points=points)


def rate_name(precision: str) -> str:
    """The number format of a precision's multiplies, as a machine's rates name it."""
    preset = Precision(precision).preset
    if preset.float8 or preset.tf32:
        return "fp8" if preset.float8 else "tf32"
    return RATE_OF.get(str(preset.autocast).removeprefix("torch."), "fp32")


def variants(precision: str, operators: list[Operator], machine: Machine) -> list[Predictable]:
    """The precisions that a precision's operators predict: itself where the machine has it, and TF32 for float32."""
    if rate_name(precision) not in machine.rates:
        return []
    found = [(precision, operators, machine)]
    if precision == "fp32" and "tf32" in machine.rates:
        found.append(("tf32", operators, with_tf32(machine)))
    return found


def pays_from(speedups: Mapping[int, float | None]) -> int | None:
    """The least width from which on every width that fits in memory is a tenth faster, or None."""
    found = None
    for width, speedup in sorted(speedups.items(), reverse=True):
        if speedup is not None and speedup < PAYS:
            break
        found = width if speedup is not None else found
    return found


def _predicted_case(case: str, precision: str, operators: list[Operator], machine: Machine) -> Document:
    prediction = asdict(predict(operators, machine))
    return {"case": case, "precision": precision, "predicted": prediction.pop("seconds"), **prediction}


def _parameters(width: int) -> int:
    with torch.device("meta"):
        return sum(weight.numel() for weight in HumorModel(width).parameters())


def _document(kind: str, **content: Any) -> Document:
    return {"kind": kind, "machine": describe_machine(), **content}
