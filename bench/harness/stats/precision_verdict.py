"""Whether a precision pays in a case: faster than float32, actually lower, and accurate. A word and a reason.

pays             the time's verdict is "faster", and the answer is within its bound.
does not pay     the time's verdict is "same" or "slower".
unclear          the time's verdict is "unclear".
wrong            the answer is outside its bound, or not finite, whatever the time.
not really half  no matrix multiply ran in a lower format: timing it would compare float32 with itself.
"""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .accuracy import Deviation
from .verdict import Interval

PAYS, DOES_NOT_PAY, UNCLEAR, WRONG, NOT_HALF = "pays", "does not pay", "unclear", "wrong", "not really half"
# By the verdict on the precision's time against float32's.
WORDS = {"faster": PAYS, "same": DOES_NOT_PAY, "slower": DOES_NOT_PAY, "unclear": UNCLEAR}
NETWORK = "network"  # the phase of a step that a lower precision can make faster


@dataclass(frozen=True)
class OperatorProfile:
    """What the operators of a case do in one precision, and how long they take; `seconds` is empty where untimed."""

    multiply_flops: Counter[str]  # by format
    cast_weights: int = 0  # elements
    seconds: Mapping[str, float] = field(default_factory=dict)  # by format of a multiply, "casts" and "rest"

    @property
    def low_flops(self) -> int:
        """FLOPs of multiplies in a lower format than float32."""
        return sum(flops for name, flops in self.multiply_flops.items() if name != "float32")

    @property
    def low_seconds(self) -> float:
        """Seconds of these multiplies."""
        return sum(seconds for name, seconds in self.seconds.items() if name not in ("float32", "casts", "rest"))


@dataclass(frozen=True)
class PrecisionVerdict:
    """The verdict on one case in one precision, with what it rests on."""

    case: str
    precision: str
    verdict: str
    deviation: Deviation
    reason: str
    interval: Interval | None  # of the logarithm of its time over float32's; None: not timed
    seconds: float | None  # of a call
    fails: bool  # whether it makes the run fail

    def as_json(self) -> dict[str, Any]:
        """The case's entry in the document; what is not a finite number is null."""
        speedup, low, high = speedup_interval(self.interval)
        error = self.deviation.error
        numbers = {"speedup": speedup, "low": low, "high": high, "error": error, "bound": self.deviation.bound}
        case = name_without_precision(self.case, self.precision)
        return {
            "case": case,
            "precision": self.precision,
            "verdict": self.verdict,
            **{key: value if value is not None and math.isfinite(value) else None for key, value in numbers.items()},
            "seconds": self.seconds,
            "reason": self.reason,
        }


def name_without_precision(case: str, precision: str) -> str:
    """What all precisions of a case are listed under: its name without the file and the precision."""
    return case.rpartition("::")[2].replace(f"{precision}-", "", 1)


def speedup_interval(interval: Interval | None) -> tuple[float | None, float | None, float | None]:
    """Speed-up over float32 with both ends of its interval; None for what is not known."""
    if interval is None:
        return None, None, None
    speedup, low, high = (math.exp(min(-end, 700.0)) for end in (interval.estimate, interval.high, interval.low))
    return speedup, low or None, high if math.isfinite(interval.low) else None


def verdict_of(deviation: Deviation, profile: OperatorProfile, time_verdict: str | None) -> str:
    """The verdict, from the answer's error, the formats that were multiplied in, and the time against float32's."""
    if deviation.wrong:
        return WRONG
    return WORDS[time_verdict] if profile.low_flops and time_verdict is not None else NOT_HALF


def explain(
    verdict: str,
    deviation: Deviation,
    profile: OperatorProfile,
    float32_seconds: Mapping[str, float],  # as OperatorProfile.seconds
    phases: Mapping[str, float],  # seconds of float32's step, NETWORK among them; empty where there are none
) -> str:
    """The reason for a verdict in one sentence."""
    if verdict == WRONG:
        return str(deviation)
    if verdict == NOT_HALF:
        flops = format_count(profile.multiply_flops.total())
        return f"no multiply ran in anything lower than float32, of {flops}FLOP"
    step = sum(phases.values())
    largest = max(phases, key=phases.__getitem__, default=NETWORK)
    if verdict != PAYS and largest != NETWORK and phases.get(NETWORK):
        share, limit = phases[largest] / step, phases[NETWORK] / step
        return f"the {largest} is {share:.0%} of the step: at most {limit:.0%} can be saved"
    return _explain_by_operators(verdict, profile, float32_seconds)


def _explain_by_operators(verdict: str, profile: OperatorProfile, float32_seconds: Mapping[str, float]) -> str:
    """What the multiplies save and the casts cost, as fractions of float32's time."""
    total = sum(float32_seconds.values())
    lowered = float32_seconds.get("float32", 0.0) - profile.seconds.get("float32", 0.0)
    saved = lowered - profile.low_seconds
    cast = profile.seconds.get("casts", 0.0) - float32_seconds.get("casts", 0.0)
    weights = format_count(profile.cast_weights).rstrip()
    casts = f"casts of {weights} weights" if profile.cast_weights else "casts"
    save, cost = f"save {saved / total:.0%} of the time", f"cost {cast / total:.0%}"
    if verdict == PAYS:
        return f"the multiplies {save}, {casts} {cost}"
    if saved <= 0:
        ratio = f"{1 - saved / max(lowered, 1e-12):.2f} times as long as in float32"
        return f"the multiplies themselves take {ratio}, and {casts} {cost} of the time"
    if cast >= saved:
        return f"{casts} {cost} of the time, more than the {saved / total:.0%} that the multiplies save"
    return f"the multiplies {save}; {casts} {cost}, other operators the rest"


def format_count(number: float) -> str:
    """A number with three digits and an SI prefix that a unit may follow: "9.73 M", "12 "."""
    for prefix, scale in ((" G", 1e9), (" M", 1e6), (" k", 1e3)):
        if number >= scale:
            return f"{number / scale:.3g}{prefix}"
    return f"{number:.3g} "
