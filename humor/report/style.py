"""What charts share: how a series looks, a number with its interval, legends, logarithmic axes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter

from .svg import PAPER, SERIES

Number = float | int | None
MARKERS = ("o", "s", "^", "P", "X", "D", "v")


@dataclass(frozen=True)
class Style:
    """How a series looks: never told by its colour alone."""

    colour: str
    marker: str
    hollow: bool = False


def style_of(name: str, names: Sequence[str]) -> Style:
    """The style of a precision, the same in every chart, or of another name by its place among its like."""
    known = ("bf16", "fp16", "tf32", "bf16-weights", "fp16-weights", "fp32", "fp8")
    at = known.index(name) if name in known else names.index(name)
    return Style(SERIES[at % len(SERIES)], MARKERS[at % len(MARKERS)])


@dataclass(frozen=True)
class Point:
    """A number with its interval, as one row of a chart shows it."""

    series: str
    middle: Number
    low: Number
    high: Number
    told: str


def logarithmic(axis: Axis, values: Sequence[float] | np.ndarray) -> None:
    """A logarithmic axis with ticks that fit what is on it."""
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})  # type: ignore[attr-defined]
    many = len(values) > 0 and max(values) > 100 * min(values)
    axis.set_major_locator(LogLocator(subs=(1,) if many else (1, 2, 5)))
    axis.set_minor_formatter(NullFormatter())


def legend(axes: Axes, handles: Sequence[Artist], wide: bool) -> None:
    """Above the axes, in as many columns as there is room for."""
    longest = max(len(str(handle.get_label())) for handle in handles)
    axes.figure.legend(handles=handles, loc="outside upper left", ncols=max(1, (96 if wide else 42) // (longest + 4)))


def handle_of(series: str, style: Style) -> Line2D:
    face = PAPER if style.hollow else style.colour
    return Line2D([], [], color=style.colour, marker=style.marker, markerfacecolor=face, linestyle="", label=series)


def shortened(text: str, most: int) -> str:
    """Text cut in its middle, since names of cases differ at their ends."""
    return text if len(text) <= most else f"{text[: most // 2 - 1]}…{text[-(most // 2) :]}"
