"""How far the answer of a case in a lower precision is from float64's, and whether that is within its bound.

An error is a tensor's: the norm of the difference over the norm of the float64 run's. What it may be depends on the
kind of answer and on the format's unit roundoff; the table of these bounds is the project's.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

Bounds = Mapping[str, Callable[[float], float]]  # kind of answer -> the largest relative error, from the unit roundoff


@dataclass(frozen=True)
class Deviation:
    """The relative error of one part of an answer, and its bound."""

    kind: str  # of answer
    error: float  # infinite where a number is not finite
    bound: float

    @property
    def wrong(self) -> bool:
        """Whether the error exceeds the bound, or is not finite whatever the bound is."""
        return not self.error <= self.bound or math.isinf(self.error)

    def __str__(self) -> str:
        if math.isinf(self.error):
            return f"{self.kind}: not all numbers are finite"
        return f"{self.kind}: relative error {self.error:.2g}, at most {self.bound:.2g}"


def worst_deviation(
    answer: Mapping[str, Any], reference: Mapping[str, Any], bounds: Bounds, unit_roundoff: float
) -> Deviation:
    """The part of an answer whose error is the largest multiple of its bound; both map kinds of answer to tensors."""
    deviations = [
        Deviation(kind, relative_error(part, exact), bounds[kind](unit_roundoff))
        for kind in reference
        for part, exact in zip(tensors_in(answer[kind]), tensors_in(reference[kind]), strict=True)
    ]
    return max(deviations, key=lambda each: (math.isinf(each.error), each.error / each.bound))


def relative_error(answer: "Tensor", reference: "Tensor") -> float:
    """The norm of the difference over the reference's norm; infinite where a number is not finite."""
    answer, reference = answer.detach().double(), reference.detach().double()
    if not bool(answer.isfinite().all() and reference.isfinite().all()):
        return math.inf
    difference, norm = float((answer - reference).norm()), float(reference.norm())
    return difference / norm if norm else difference


def tensors_in(value: Any) -> "list[Tensor]":
    """The tensors in a tensor, a dataclass, a sequence or a nesting of these, in order; none in None."""
    from torch import Tensor

    if value is None or isinstance(value, Tensor):
        return [] if value is None else [value]
    parts: Iterable[Any] = value
    if dataclasses.is_dataclass(value):
        parts = (getattr(value, each.name) for each in dataclasses.fields(value))
    return [tensor for part in parts for tensor in tensors_in(part)]
