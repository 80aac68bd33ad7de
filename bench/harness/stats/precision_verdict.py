"""Whether a precision pays in a case: faster than float32, truly lower, and right. Numbers in, a word and a reason out.

How wrong a result may be. A format's unit u is half the gap between neighbours near 1 (bf16 2^-8, fp16 and TF32 2^-11).
Multiplying in it rounds three times: both factors and what is written, by u at most each. Roundings are independent, so
that n of them in sequence add as squares, to sqrt(n) u (Higham and Mary 2019, "A new approach to probabilistic rounding
error analysis"); an error is a tensor's, its norm over that of the float64 run's.

  product    sqrt(3) u: one multiply.
  network    sqrt(27) u: encoder, or prior, and decoder are nine layers in sequence, and normalising between them keeps
             errors as large as they are.
  transformers  sqrt(150) u: eight blocks of six multiplies in sequence, an embedding and a head.
  bodies     sqrt(33) u: the tree of joints is eleven deep, a multiply each.
  loss       4 u: it is quadratic, hence twice, in what two roundings of inputs and weights moved; its mean over rows
             averages the others out.
  gradients  4 sqrt(u): a ReLU whose input was rounded across zero passes a gradient or not, and the share of those
             grows with u: a direction whose cosine is 8 u less than 1, and a norm 4 u off, is sqrt(16 u + 16 u^2) away.

The loss's and the gradients' are those that tests/test_precision.py holds the library to. "only finite" is what has no
bound: the later frames of a rollout move apart at the rate of the motion itself, whatever was rounded first.
"""

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ...cases import case_named
from .verdict import Interval

if TYPE_CHECKING:
    from torch import Tensor

BOUNDS: Mapping[str, Callable[[float], float]] = {
    "product": lambda unit: math.sqrt(3) * unit,
    "network": lambda unit: math.sqrt(27) * unit,
    "transformers": lambda unit: math.sqrt(150) * unit,
    "bodies": lambda unit: math.sqrt(33) * unit,
    "loss": lambda unit: 4 * unit,
    "gradients": lambda unit: 4 * math.sqrt(unit),
    "only finite": lambda unit: math.inf,
}
PAYS, NOT, UNCLEAR, WRONG, NOT_HALF = "pays", "does not pay", "unclear", "wrong", "not really half"
WORDS = {"faster": PAYS, "same": NOT, "slower": NOT, "unclear": UNCLEAR}  # of the verdict on its time against float32's


@dataclass(frozen=True)
class Deviation:
    """How far a result is from float64's, and how far it may be."""

    of: str  # a name of BOUNDS
    error: float  # relative; infinite where a number is not finite
    bound: float

    @property
    def wrong(self) -> bool:
        """Whether it is too far."""
        return not self.error <= self.bound or math.isinf(self.error)

    def __str__(self) -> str:
        if math.isinf(self.error):
            return f"{self.of}: not all numbers are finite"
        return f"{self.of}: {self.error:.2g} off, at most {self.bound:.2g}"


@dataclass(frozen=True)
class Work:
    """What a case does in a precision, counted and timed by operators; `spent` is empty where it was not timed."""

    multiplied: Counter[str]  # flops by format
    cast_weights: int = 0  # numbers
    spent: Mapping[str, float] = field(default_factory=dict)  # seconds by format of a multiply, "casts" and "rest"

    @property
    def low_flops(self) -> int:
        """Multiplied in a lower format than float32."""
        return sum(flops for name, flops in self.multiplied.items() if name != "float32")

    @property
    def low_seconds(self) -> float:
        """Spent on that."""
        return sum(seconds for name, seconds in self.spent.items() if name not in ("float32", "casts", "rest"))


@dataclass(frozen=True)
class Finding:
    """One case in one precision."""

    case: str
    precision: str
    verdict: str
    deviation: Deviation
    reason: str
    interval: Interval | None  # of the logarithm of its time over float32's; None: not timed
    seconds: float | None  # of a call
    fails: bool  # whether a run with it must not pass

    def as_json(self) -> dict[str, Any]:
        """As the document holds it; what is not a number is null."""
        speedup, low, high = speedups(self.interval)
        error = self.deviation.error
        numbers = {"speedup": speedup, "low": low, "high": high, "error": error, "bound": self.deviation.bound}
        told = {name: value if value is not None and math.isfinite(value) else None for name, value in numbers.items()}
        words = {"case": case_named(self.case, self.precision), "precision": self.precision, "verdict": self.verdict}
        return {**words, **told, "seconds": self.seconds, "reason": self.reason}


def speedups(interval: Interval | None) -> tuple[float | None, float | None, float | None]:
    """Float32's time over the precision's, and between what it lies; None where that is not known."""
    if interval is None:
        return None, None, None
    speedup, low, high = (math.exp(min(-end, 700.0)) for end in (interval.middle, interval.high, interval.low))
    return speedup, low or None, high if math.isfinite(interval.low) else None


def worst(found: Any, reference: Any, unit: float) -> Deviation:
    """The part of an answer that is furthest off for its bound; both are tables of tensors by the names of BOUNDS."""
    deviations = [
        Deviation(name, relative_error(ours, theirs), BOUNDS[name](unit))
        for name in reference
        for ours, theirs in zip(tensors_in(found[name]), tensors_in(reference[name]), strict=True)
    ]
    return max(deviations, key=lambda each: (math.isinf(each.error), each.error / each.bound))


def relative_error(found: "Tensor", reference: "Tensor") -> float:
    """The norm of the difference over the reference's; infinite where a number is not finite."""
    found, reference = found.detach().double(), reference.detach().double()
    if not bool(found.isfinite().all() and reference.isfinite().all()):
        return math.inf
    off, size = float((found - reference).norm()), float(reference.norm())
    return off / size if size else off


def tensors_in(value: Any) -> "list[Tensor]":
    """The tensors of an answer: itself, or those of its fields and elements, in order."""
    from torch import Tensor

    if value is None or isinstance(value, Tensor):
        return [] if value is None else [value]
    parts: Iterable[Any] = value
    if dataclasses.is_dataclass(value):
        parts = (getattr(value, each.name) for each in dataclasses.fields(value))
    return [tensor for part in parts for tensor in tensors_in(part)]


def verdict_of(deviation: Deviation, work: Work, time: str | None) -> str:
    """The joint word. Where nothing was multiplied lower, a time would be float32's own."""
    if deviation.wrong:
        return WRONG
    return WORDS[time] if work.low_flops and time is not None else NOT_HALF


def reason_of(
    verdict: str,
    deviation: Deviation,
    work: Work,
    single: Mapping[str, float],  # what float32 spends, as `Work.spent`
    phases: Mapping[str, float],  # seconds of float32's step
) -> str:
    """One sentence: what was found, from the error, the counts and the times of operators and phases."""
    if verdict == WRONG:
        return str(deviation)
    if verdict == NOT_HALF:
        return f"no multiply ran in anything lower than float32, of {said_count(work.multiplied.total())}FLOP"
    whole = sum(single.values())
    before, after = ([each.get(kind, 0.0) for kind in ("float32", "casts")] for each in (single, work.spent))
    lowered = before[0] - after[0]  # what float32 takes for that which is multiplied lower
    saved, cast = lowered - work.low_seconds, after[1] - before[1]
    casts = f"casts of {said_count(work.cast_weights).rstrip()} weights" if work.cast_weights else "casts"
    network = phases.get("sample", 0.0) + phases.get("network backward", 0.0)
    others = {"loss": phases.get("loss", 0.0) + phases.get("backward", 0.0), "optimizer": phases.get("optimize", 0.0)}
    largest = max(others, key=lambda name: others[name])
    if verdict == PAYS:
        return f"the multiplies save {saved / whole:.0%} of the time, {casts} cost {cast / whole:.0%}"
    if others[largest] > network > 0:
        step = sum(phases.values())
        return f"the {largest} is {others[largest] / step:.0%} of the step: at most {network / step:.0%} can be saved"
    if saved <= 0:
        times = f"{1 - saved / max(lowered, 1e-12):.2f} times as long as in float32"
        return f"the multiplies themselves take {times}, and {casts} cost {cast / whole:.0%} of the time"
    if cast >= saved:
        return (
            f"{casts} cost {cast / whole:.0%} of the time, more than the {saved / whole:.0%} that the multiplies save"
        )
    return f"the multiplies save {saved / whole:.0%} of the time; {casts} cost {cast / whole:.0%}, and the rest its own"


def said_count(number: float) -> str:
    """A number with three digits and its unit's beginning: 9.73 M, which "FLOP" may follow."""
    for unit, scale in ((" G", 1e9), (" M", 1e6), (" k", 1e3)):
        if number >= scale:
            return f"{number / scale:.3g}{unit}"
    return f"{number:.3g} "
