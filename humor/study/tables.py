"""The study on paper: the table of time, the figure of the curves, and the verdict."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ..io.files import whole_file, write_whole
from ..training.phase_timer import PHASES
from .curve_verdict import compare_curves, verdict_sentence
from .trainings import StudyResult

CURVES = ("train", "validation")
COLOURS = ("tab:blue", "tab:orange", "tab:green", "tab:red", "tab:purple", "tab:brown")
LINES = ("-", "--", ":", "-.", (0, (5, 1)), (0, (1, 1)))  # so that curves which agree are seen both


def write_report(result: StudyResult, out: Path) -> list[str]:
    """Write table.md, curves.csv and curves.svg; returns the sentences of the verdict."""
    verdicts = sentences(result)
    write_whole(out / "table.md", (time_table(result) + "\n" + "\n".join(verdicts) + "\n").encode())
    write_whole(out / "curves.csv", curve_rows(result).encode())
    draw_curves(result, out / "curves.svg")
    return verdicts


def sentences(result: StudyResult) -> list[str]:
    """A verdict on each precision against the first."""
    reference, *others = result.precisions
    told = []
    for name in others:
        curves = {
            curve: compare_curves(getattr(result, curve)[reference], getattr(result, curve)[name])
            for curve in CURVES
            if not np.isnan(getattr(result, curve)[reference]).all()  # nothing validated
        }
        told.append(verdict_sentence(name, reference, curves))
    return told


def time_table(result: StudyResult) -> str:
    """Seconds of an epoch by phase, waiting for data included: the study's Table 1, and what it does not say."""
    names = result.precisions
    whole = {name: sum(result.seconds[name].values()) for name in names}
    rows = [
        (_PHASE_TITLES.get(phase, phase), *(_part(result.seconds[name][phase], whole[name]) for name in names))
        for phase in PHASES
        if phase != "graph"  # a study runs operator by operator, where phases can be told apart
    ]
    rows.append(("**epoch**", *(f"**{whole[name]:.4g} s**" for name in names)))
    rows.append(
        (f"against {names[0]}", "", *(f"{100 * (whole[name] / whole[names[0]] - 1):+.1f} %" for name in names[1:]))
    )
    bounds = (f"{100 * result.network_share(name):.1f} %" for name in names)
    rows.append(("a network that took no time would save", *bounds))
    head = ["| seconds an epoch | " + " | ".join(names) + " |", "|---|" + "---:|" * len(names)]
    return "\n".join(head + ["| " + " | ".join(row) + " |" for row in rows]) + "\n"


def curve_rows(result: StudyResult) -> str:
    """Every point of every curve as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("precision", "seed", "epoch", *(f"{curve}_loss" for curve in CURVES)))
    for name in result.precisions:
        for (seed, epoch), train in np.ndenumerate(result.train[name]):
            writer.writerow((name, seed, epoch, f"{train:.9g}", f"{result.validation[name][seed, epoch]:.9g}"))
    return text.getvalue()


def draw_curves(result: StudyResult, path: Path) -> None:
    """Train and validation loss by epoch, as a picture."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    FigureCanvasSVG(figure)
    for axes, curve in zip(figure.subplots(1, len(CURVES), sharey=True), CURVES, strict=True):
        draw_curve(axes, result, curve, COLOURS)
        axes.set(title=f"{curve} loss", yscale="log")
        axes.legend(title=f"mean and range of {len(getattr(result, curve)[result.precisions[0]])} seeds")
    with whole_file(path) as file:
        figure.savefig(file, format="svg")


def draw_curve(axes: Axes, result: StudyResult, curve: str, colours: Sequence[str]) -> dict[str, Line2D]:
    """Loss by epoch on matplotlib's axes: the mean over seeds, and a band from the lowest to the highest of them."""
    drawn = {}
    for name, colour, line in zip(result.precisions, colours, LINES, strict=False):
        losses = getattr(result, curve)[name]
        epochs = np.arange(1, losses.shape[1] + 1)
        (drawn[name],) = axes.plot(epochs, losses.mean(0), color=colour, linestyle=line, marker=".", label=name)
        axes.fill_between(epochs, losses.min(0), losses.max(0), color=colour, alpha=0.2, linewidth=0)
    axes.set(xlabel="epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return drawn


_PHASE_TITLES = {
    "wait": "wait for data",
    "prepare": "prepare data",
    "sample": "sample (network forward)",
    "backward": "backward through the loss",
    "network backward": "backward through the network",
}


def _part(seconds: float, whole: float) -> str:
    return f"{seconds:.4g} s, {100 * seconds / whole:.1f} %"
