"""Charts of rows: stacked bars, and points with intervals."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from .numbers import digits
from .schema import Number
from .style import Point, Style, handle_of, legend, logarithmic, shortened
from .svg import INK, PAPER, SERIES, SOFT, chart, mark

MAX_ROWS = 48  # of a chart; its table has all


def bars(
    name: str, title: str, unit: str, rows: Sequence[tuple[str, Sequence[Number]]], parts: Sequence[str]
) -> Markup:
    """Stacked bars: the parts of each row, labelled where there is room; unknown numbers are left out."""
    if not rows:
        return Markup("")
    shown = rows[:MAX_ROWS]
    widest = max((sum(value or 0.0 for value in values) for _, values in shown), default=0.0) or 1.0

    def draw(axes: Axes, wide: bool) -> None:
        for at, (label, values) in enumerate(shown):
            left = 0.0
            for part, value, colour in zip(parts, values, SERIES, strict=False):
                if value is None:
                    continue
                tooltip = f"{label}, {part}: {digits(value)} {unit}"
                (bar,) = axes.barh(at, value, 0.9 * _share(wide), left, color=colour, edgecolor=PAPER, linewidth=0.8)
                mark(bar, tooltip)
                if value > (0.07 if wide else 0.15) * widest:
                    where: Any = {"ha": "center", "va": "center", "fontsize": 11}
                    axes.text(left + value / 2, at, digits(value, 2), color=PAPER, **where)
                left += value
        _label_rows(axes, wide, [label for label, _ in shown])
        axes.set(xlim=(0, widest * 1.02), xlabel=unit)
        if len(parts) > 1:
            handles = [Patch(color=colour, label=part) for part, colour in zip(parts, SERIES, strict=False)]
            legend(axes, handles, wide)

    text = f"{len(shown)} bars, from {shown[0][0]} to {shown[-1][0]}, in {unit}; the table below has the numbers."
    return chart(name, title, text, draw, _heights(len(shown), 1))


def points(
    name: str,
    title: str,
    axis: str,
    rows: Sequence[tuple[str, Sequence[Point]]],
    styles: Mapping[str, Style],
    even: float | None = None,
) -> Markup:
    """A row of points with intervals for each label, and a line at `even`, where nothing changes.

    The axis is logarithmic where the points are wide apart; what is not above zero is then at its edge.
    """
    if not rows:
        return Markup("")
    shown = rows[:MAX_ROWS]
    above = [x for _, row in shown for p in row for x in (p.middle, p.low, p.high, even) if x is not None and x > 0]
    apart = even != 0 and max(above, default=1) > 4 * min(above, default=1)
    most = max((len(row) for _, row in shown), default=1)

    def draw(axes: Axes, wide: bool) -> None:
        if even is not None:
            axes.axvline(even, color=SOFT, linewidth=1.2)
        if apart:
            logarithmic(axes.xaxis, above)
            axes.set_xlim(min(above) / 1.3, max(above) * 1.3)
        for at, (label, row) in enumerate(shown):
            for number, point in enumerate(row):
                y = at + (number - (len(row) - 1) / 2) * _share(wide) / most
                _dot(axes, y, label, point, styles[point.series], min(above) / 1.3 if apart else -math.inf)
        if not apart:
            axes.xaxis.set_major_locator(MaxNLocator(7 if wide else 5))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}" + "×" * (even == 1)))
        axes.set_xlabel(axis)
        _label_rows(axes, wide, [label for label, _ in shown])
        if len(styles) > 1:
            legend(axes, [handle_of(series, style) for series, style in styles.items()], wide)

    text = f"{sum(len(row) for _, row in shown)} points of {len(shown)} cases; {axis}. The table below has the numbers."
    return chart(name, title, text, draw, _heights(len(shown), most))


def _dot(axes: Axes, y: float, label: str, point: Point, style: Style, least: float) -> None:
    if point.middle is None:
        return
    ends = [max(point.middle if end is None else end, least) for end in (point.low, point.high)]
    axes.plot(ends, [y, y], color=style.colour, linewidth=2, solid_capstyle="butt")
    face = PAPER if style.hollow else style.colour
    where = max(point.middle, least)
    (dot,) = axes.plot(where, y, style.marker, color=style.colour, markersize=7, markerfacecolor=face, clip_on=False)
    mark(dot, f"{label}, {point.tooltip}")


def _label_rows(axes: Axes, wide: bool, labels: Sequence[str]) -> None:
    """Names beside rows where there is room, above them elsewhere; the first row on top."""
    axes.set_ylim(len(labels) - 0.5, -0.5 if wide else -0.65)
    axes.grid(False, axis="y")
    axes.spines["left"].set_visible(False)
    if wide:
        axes.set_yticks(range(len(labels)), [shortened(label, 44) for label in labels], color=INK)
        return
    axes.set_yticks([])
    for at, label in enumerate(labels):
        across = axes.get_yaxis_transform()
        behind = {"facecolor": PAPER, "edgecolor": "none", "pad": 1}  # no line of the grid through a name
        place: Any = {"transform": across, "fontsize": 11, "va": "bottom", "bbox": behind}
        axes.text(0, at - 0.31, shortened(label, 46), color=INK, **place)


def _share(wide: bool) -> float:
    """How much of a row its marks take; a narrow chart has names between rows."""
    return 0.72 if wide else 0.5


def _heights(rows: int, most: int) -> tuple[float, float]:
    """Wide and narrow heights of a chart of rows with so many marks above each other, CSS pixels."""
    row = 14 * most + 12
    return 84 + row * rows, 110 + (row + 20) * rows
