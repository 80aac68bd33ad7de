"""Format numbers for the page: significant digits, a fitting unit, a dash for an unknown number."""

import math
from collections.abc import Iterable

UNKNOWN = "–"
TIMES = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))
SIZES = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


def digits(value: float | int | None, significant: int = 3) -> str:
    """A number with so many significant digits, in powers of ten only if it is very large or small."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    if value == 0:
        return "0"
    rounded = f"{value:.{significant - 1}e}"
    exponent = int(rounded.partition("e")[2])
    if not -5 < exponent < 12:
        return rounded
    return f"{value:.{max(significant - 1 - exponent, 0)}f}"


def whole(value: float | int | None) -> str:
    """A count or a size: 4096, 0.5."""
    return UNKNOWN if value is None else f"{value:.12g}"


def multiple(value: float | int | None) -> str:
    """A factor: 1.25×."""
    return UNKNOWN if value is None else f"{digits(value)}×"


def percent(share: float | int | None, signed: bool = False) -> str:
    """A share as percent."""
    if share is None or not math.isfinite(share):
        return UNKNOWN
    return f"{100 * share:{'+' * signed}.1f}\u00a0%"


def unit_of(values: Iterable[float | int | None], units: tuple[tuple[float, str], ...]) -> tuple[float, str]:
    """The unit in which the largest of the values is at least one; the last for less."""
    most = max((abs(value) for value in values if value is not None), default=0.0)
    return next((unit for unit in units if most >= unit[0]), units[-1])


def count(number: int, what: str) -> str:
    """1 case, 2 cases."""
    return f"{number} {what}{'s' * (number != 1)}"


def scaled(value: float | int | None, unit: float) -> float | None:
    """A number in a unit."""
    return None if value is None else value / unit
