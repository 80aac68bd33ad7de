"""Charts with two numeric axes: a heat map, a roofline, saved runs, loss curves."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from ..io.run_tables import RunCurves
from .numbers import digits, multiple
from .schema import Number
from .style import Point, handle_of, legend, logarithmic, shortened, style_of
from .svg import HEAT, INK, PAPER, SERIES, SOFT, chart, mark

DASHES = ("-", "--", ":", "-.", (0, (5, 1)), (0, (1, 1)))  # so that curves on top of each other are both visible
HEAT_BOUNDS = (0.5, 0.8, 0.95, 1.05, 1.25, 2.0)  # between the seven colours of the heat map


def heat_map(
    name: str,
    title: str,
    rows: tuple[str, Sequence[str]],
    columns: tuple[str, Sequence[str]],
    cells: Sequence[Sequence[Point]],
) -> Markup:
    """A cell for each pair of sizes: its factor, coloured where the interval excludes 1."""

    def draw(axes: Axes, wide: bool) -> None:
        for y, line in enumerate(cells):
            for x, point in enumerate(line):
                if point.middle is None:
                    continue
                clear = point.low is not None and point.high is not None and not point.low <= 1 <= point.high
                tint = HEAT[int(np.searchsorted(HEAT_BOUNDS, point.middle))] if clear else HEAT[3]
                mark(axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, color=tint, ec=PAPER, lw=2)), point.tooltip)
                where: Any = {"ha": "center", "va": "center", "fontsize": 12 if wide else 10.5}
                axes.text(x, y, digits(point.middle, 2), color=INK if clear else SOFT, **where)
        axes.set(xlim=(-0.5, len(columns[1]) - 0.5), ylim=(-0.5, len(rows[1]) - 0.5), xlabel=columns[0], ylabel=rows[0])
        axes.set_xticks(range(len(columns[1])), columns[1], fontsize=12 if wide else 10.5)
        axes.set_yticks(range(len(rows[1])), rows[1], fontsize=12 if wide else 10.5)
        axes.grid(False)
        axes.spines[:].set_visible(False)

    height = 34 * len(rows[1]) + 52
    return chart(
        name, title, f"{len(rows[1])} by {len(columns[1])} cells, {rows[0]} upwards, {columns[0]} to the right; "
        "the table below has the numbers.", draw, (height, height),
    )  # fmt: skip


def roofline_chart(
    name: str, title: str, peaks: Mapping[str, Number], bandwidth: float, cases: Sequence[tuple[str, float, float, str]]
) -> Markup:
    """FLOP/s over FLOP/byte; cases are (precision, FLOP/byte, FLOP/s, tooltip), numbered in order."""
    styles = {series: style_of(series) for series in [*peaks, *(series for series, *_ in cases)]}
    known = {series: peak for series, peak in peaks.items() if peak}
    across = [x for _, x, _, _ in cases] + [peak / bandwidth for peak in known.values()]
    edges = np.array([min(across) / 3, max(across) * 3])

    def draw(axes: Axes, wide: bool) -> None:
        for series, peak in known.items():
            path = np.array(
                [edges[0], *([peak / bandwidth] if edges[0] < peak / bandwidth < edges[1] else []), edges[1]]
            )
            axes.plot(path, np.minimum(path * bandwidth, peak), color=styles[series].colour, linewidth=1.8)
            axes.annotate(series, (edges[1], min(edges[1] * bandwidth, peak)), (-2, 3), textcoords="offset points",
                          ha="right", fontsize=11, color=styles[series].colour)  # fmt: skip
        for number, (series, x, y, tooltip) in enumerate(cases, 1):
            style = styles[series]
            (dot,) = axes.plot(x, y, style.marker, color=style.colour, markersize=7, markeredgecolor=PAPER)
            mark(dot, tooltip)
            if len(cases) <= 24:
                side = ((6, -5), "left") if number % 2 else ((-6, -5), "right")  # so that neighbours stay apart
                axes.annotate(str(number), (x, y), side[0], textcoords="offset points", ha=side[1], color=SOFT)
        axes.set(xscale="log", yscale="log", xlim=edges, xlabel="FLOP a byte", ylabel="FLOP a second")
        for along in (axes.xaxis, axes.yaxis):
            along.set_major_formatter(FuncFormatter(lambda x, _: _power(x)))
            along.set_minor_formatter(NullFormatter())
        used = [series for series in styles if any(series == case[0] for case in cases)]
        legend(axes, [handle_of(series, styles[series]) for series in used], wide)

    return chart(
        name, title, f"{len(cases)} cases, numbered as in the table below, under the roofs of {', '.join(known)}.",
        draw, (400, 340),
    )  # fmt: skip


@dataclass(frozen=True)
class Curve:
    """A case over consecutive runs."""

    label: str
    values: Sequence[Number]
    colour: str | None  # None for the background
    marked: Sequence[int]  # the runs where it changed


def lines(name: str, title: str, axis: str, ticks: Sequence[str], curves: Sequence[Curve]) -> Markup:
    """Curves over runs; what changed has a colour, a name and larger points."""
    coloured = [curve for curve in curves if curve.colour]

    def draw(axes: Axes, wide: bool) -> None:
        for curve in curves:
            values = [math.nan if value is None else value for value in curve.values]
            shade, depth = (curve.colour, 3) if curve.colour else (SOFT, 2)
            fine: Any = {"linewidth": 2.0, "markersize": 4.0} if curve.colour else {"linewidth": 0.7, "markersize": 2.0}
            mark(axes.plot(values, color=shade, marker="o", zorder=depth, **fine)[0], curve.label)
            for at in curve.marked:
                (dot,) = axes.plot(at, values[at], "D", color=shade, markersize=8, zorder=depth + 1)
                mark(dot, f"{curve.label}, {ticks[at]}: {multiple(values[at])}")
        every = math.ceil(len(ticks) / (9 if wide else 3))
        axes.set_xticks(range(0, len(ticks), every), [re.sub(r",? ", "\n", tick) for tick in ticks[::every]])
        axes.set(ylabel=axis, xlim=(-0.4, len(ticks) - 0.6))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:.4g}×"))
        if coloured:
            short = [(curve.colour, shortened(curve.label, 60 if wide else 40)) for curve in coloured]
            handles = [Line2D([], [], color=colour, linewidth=2, label=label) for colour, label in short]
            legend(axes, handles, wide)

    marked = sum(len(curve.marked) for curve in curves)
    text = f"{len(curves)} cases over {len(ticks)} runs, {marked} changes marked; the table below has the numbers."
    return chart(name, title, text, draw, (320 + 18 * len(coloured), 300 + 18 * len(coloured)))


def loss_curves(name: str, title: str, runs: RunCurves, curve: str) -> Markup:
    """Loss by epoch: the mean over seeds and their range."""

    def draw(axes: Axes, wide: bool) -> None:
        for label, line in draw_curve(axes, runs, curve, SERIES).items():
            mark(line, label)
        values = np.concatenate([losses.ravel() for losses in getattr(runs, curve).values()])
        logarithmic(axes.yaxis, values[np.isfinite(values) & (values > 0)])
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
        axes.set_ylabel("loss")
        handles, _ = axes.get_legend_handles_labels()
        if len(handles) > 1:
            legend(axes, handles, wide)

    text = f"{len(runs.precisions)} curves by epoch; the table below has the numbers."
    return chart(name, title, text, draw, (300, 260))


def draw_curve(axes: Axes, runs: RunCurves, curve: str, colours: Sequence[str]) -> dict[str, Line2D]:
    """Loss by epoch on matplotlib's axes: the mean over seeds, and a band from the lowest to the highest of them."""
    drawn = {}
    for name, colour, dashes in zip(runs.precisions, colours, DASHES, strict=False):
        losses = getattr(runs, curve)[name]
        epochs = np.arange(1, losses.shape[1] + 1)
        (drawn[name],) = axes.plot(epochs, losses.mean(0), color=colour, linestyle=dashes, marker=".", label=name)
        axes.fill_between(epochs, losses.min(0), losses.max(0), color=colour, alpha=0.2, linewidth=0)
    axes.set(xlabel="epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return drawn


def _power(x: float) -> str:
    """A power of ten with a prefix: 1 k, 10 T; a fraction as it is."""
    for factor, letter in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if x >= factor:
            return f"{x / factor:g} {letter}"
    return f"{x:g}"
