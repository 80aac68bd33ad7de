"""What the charts share: the styles of series, points with intervals, legends, logarithmic axes."""

from collections.abc import Sequence
from dataclasses import dataclass
from zlib import crc32

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter

from .schema import Number
from .svg import PAPER, SERIES

MARKERS = ("o", "s", "^", "P", "X", "D", "v")
COMMON = ("bf16", "fp16", "tf32", "bf16-weights", "fp16-weights", "fp32", "fp8")  # precisions with a colour each


@dataclass(frozen=True)
class Style:
    """Colour and marker of a series; two series never differ by colour alone."""

    colour: str
    marker: str
    hollow: bool = False


def style_of(precision: str) -> Style:
    """The style of a precision, the same in every chart of every report; each of the common ones has its colour."""
    if precision in COMMON:
        at = COMMON.index(precision)
    else:  # combinations of colour and marker that no common precision has
        at = len(SERIES) + crc32(precision.encode()) % (len(SERIES) * (len(MARKERS) - 1))
    return Style(SERIES[at % len(SERIES)], MARKERS[(at + at // len(SERIES)) % len(MARKERS)])


@dataclass(frozen=True)
class Point:
    """A number with its interval, as one row of a chart shows it."""

    series: str
    middle: Number
    low: Number
    high: Number
    tooltip: str


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
    """The entry of a series in a legend."""
    face = PAPER if style.hollow else style.colour
    return Line2D([], [], color=style.colour, marker=style.marker, markerfacecolor=face, linestyle="", label=series)


def shortened(text: str, most: int) -> str:
    """Text cut in its middle, since names of cases differ at their ends."""
    return text if len(text) <= most else f"{text[: most // 2 - 1]}…{text[-(most // 2) :]}"
