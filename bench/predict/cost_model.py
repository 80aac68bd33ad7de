"""The time that operators take on a machine described by a few numbers. No clock, no device, no pytest.

The host spends a fixed time on every operator, more on one that computes. A device works through a queue behind the
host: a kernel begins once it is launched and all kernels before it are done, and takes the larger of two times, its
FLOPs at the machine's rate and its bytes at the machine's bandwidth (Williams et al. 2009, the roofline model). A
multiply runs in whole tiles, as many at once as the device has units, so that one of few rows wastes part of them
(NVIDIA, "Matrix Multiplication Background User's Guide", tile and wave quantization). A CPU has no queue.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from scipy.optimize import least_squares

from ..harness.counters.operators import Operator

RATE_OF = {"float16": "fp16", "bfloat16": "bf16", "float8_e4m3fn": "fp8"}  # other formats: fp32
TILE = 64  # rows and columns of the smallest tile in the guide, hence the least padding
HOST, DEVICE = ("dispatch", "launch"), ("compute", "memory")  # what can bound a time, on either clock
STARTS = (1e-6, 1e-5, 1e-4)  # seconds, from which a fit begins


@dataclass(frozen=True)
class Machine:
    """A machine's numbers: what it reaches, not what its data sheet says."""

    rates: Mapping[str, float]  # FLOP/s of matrix multiplies by number format, "fp32" at least
    bandwidth: float  # byte/s
    dispatch: float  # host seconds for an operator that computes nothing, such as a view
    launch: float  # host seconds for one that computes
    units: int = 0  # multiprocessors; 0: a CPU, which has neither tiles nor a queue


@dataclass(frozen=True)
class Prediction:
    """The predicted time of a list of operators, and what bounds it."""

    seconds: float
    bound_by: str  # the larger part on the busier of the two clocks
    flops: int
    bytes: int
    kernels: int


def device_terms(operator: Operator, machine: Machine) -> dict[str, float]:
    """Seconds for an operator's FLOPs alone, and for its bytes alone."""
    flops = tiled_flops(operator, machine.units)
    rate = machine.rates[RATE_OF.get(operator.number_format, "fp32")] if flops else 1.0
    return {"compute": flops / rate, "memory": operator.bytes / machine.bandwidth}


def tiled_flops(operator: Operator, units: int) -> float:
    """FLOPs of a multiply, including the padding of its tiles and the units that idle in its last wave."""
    if not (operator.flops and operator.result and units):
        return operator.flops
    *batch, rows, columns = operator.result
    depth = operator.flops / (2 * math.prod(operator.result))
    high, wide = min(rows, TILE), min(columns, TILE)  # narrow multiplies have narrower kernels
    tiles = math.prod(batch) * math.ceil(rows / high) * math.ceil(columns / wide)
    return 2 * high * wide * depth * math.ceil(tiles / units) * units


def device_work(operators: Sequence[Operator], machine: Machine) -> list[tuple[str, float] | None]:
    """What bounds each operator on the device, with its seconds there; None for one that computes nothing."""
    terms = {operator: device_terms(operator, machine) for operator in set(operators) if operator.computes}
    bounds = {operator: max(both.items(), key=lambda term: term[1]) for operator, both in terms.items()}
    return [bounds.get(operator) for operator in operators]


def finish_time(work: Sequence[tuple[str, float] | None], machine: Machine) -> float:
    """Seconds until both host and device are done."""
    host = device = 0.0  # the time on two clocks
    for each in work:
        if each is None:
            host += machine.dispatch
            continue
        host += machine.launch
        device = max(device, host) + each[1]
        if not machine.units:
            host = device
    return max(host, device)


def predict(operators: Sequence[Operator], machine: Machine) -> Prediction:
    """The predicted time of a list of operators."""
    work = device_work(operators, machine)
    took = {"dispatch": work.count(None) * machine.dispatch, "launch": (len(work) - work.count(None)) * machine.launch}
    for name in DEVICE:
        took[name] = sum(each[1] for each in work if each is not None and each[0] == name)
    return Prediction(
        finish_time(work, machine),
        _largest(took),
        sum(operator.flops for operator in operators),
        sum(operator.bytes for operator in operators),
        sum(operator.computes for operator in operators),
    )


def _largest(took: Mapping[str, float]) -> str:
    busier = max(HOST, DEVICE, key=lambda names: sum(took[name] for name in names))
    return max(busier, key=took.__getitem__)


def fit_host(machine: Machine, rows: Sequence[tuple[Sequence[Operator], float]]) -> Machine:
    """The machine with the dispatch and launch times that best fit measured lists of operators.

    Minimises a robust loss of the log ratios of predicted and measured times, so that an outlier counts little.
    """

    def with_costs(logarithms: np.ndarray) -> Machine:
        dispatch, launch = np.exp(logarithms)
        return replace(machine, dispatch=float(dispatch), launch=float(launch))

    known = [(device_work(operators, machine), seconds) for operators, seconds in rows]

    def misses(logarithms: np.ndarray) -> list[float]:
        here = with_costs(logarithms)
        return [math.log(finish_time(work, here) / seconds) for work, seconds in known]

    found = [
        least_squares(misses, np.log([start, start]), loss="soft_l1", f_scale=0.01, diff_step=1e-4) for start in STARTS
    ]
    return with_costs(min(found, key=lambda fit: fit.cost).x)


def with_tf32(machine: Machine) -> Machine:
    """The machine that multiplies float32 as TF32."""
    return replace(machine, rates={**machine.rates, "fp32": machine.rates["tf32"]})


def as_fp8(operators: Iterable[Operator]) -> list[Operator]:
    """Half-precision multiplies as FP8 at best: half their bytes, and no extra cost of scaling or casting."""
    return [
        replace(each, number_format="float8_e4m3fn", bytes=each.bytes // 2) if each.number_format in RATE_OF else each
        for each in operators
    ]


def extrapolate(few: Sequence[Operator], more: Sequence[Operator], at: float) -> list[Operator]:
    """The operators of another batch size, on the line through two: `few` at 0 and `more` at 1.

    Raises ValueError where the two do not dispatch the same operators.
    """
    if [(a.computes, a.number_format, len(a.result)) for a in few] != [
        (b.computes, b.number_format, len(b.result)) for b in more
    ]:
        raise ValueError("two batches dispatch different operators, so no line goes through them.")

    def between(a: int, b: int) -> int:
        return round(a + at * (b - a))

    return [
        replace(
            a,
            flops=between(a.flops, b.flops),
            bytes=between(a.bytes, b.bytes),
            result=tuple(map(between, a.result, b.result)),
        )
        for a, b in zip(few, more, strict=True)
    ]


def concordant_pairs(predicted: Mapping[str, float], measured: Mapping[str, float]) -> tuple[int, int]:
    """How many pairs of names have the same order in both, and how many pairs there are."""
    pairs = list(combinations(sorted(predicted.keys() & measured.keys()), 2))
    alike = sum((predicted[a] < predicted[b]) == (measured[a] < measured[b]) for a, b in pairs)
    return alike, len(pairs)
