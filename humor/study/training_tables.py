"""What a study writes: the table of times, the figure of the curves, and the verdict on them."""

import csv
import io
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from ..io.files import whole_file, write_whole
from ..io.run_tables import RunCurves
from ..report.curve_comparison import CURVES, comparison_sentences
from ..report.xy_charts import draw_curve
from ..training.phase_timer import PHASES

COLOURS = ("tab:blue", "tab:orange", "tab:green", "tab:red", "tab:purple", "tab:brown")


def write_report(curves: RunCurves, out: Path) -> list[str]:
    """Write table.md, curves.csv and curves.svg; returns the sentences of the verdict. Raises FileError."""
    verdicts = comparison_sentences(curves)
    write_whole(out / "table.md", (time_table(curves) + "\n" + "\n".join(verdicts) + "\n").encode())
    write_whole(out / "curves.csv", curves_csv(curves).encode())
    draw_curves(curves, out / "curves.svg")
    return verdicts


def time_table(curves: RunCurves) -> str:
    """Seconds of an epoch by phase, waiting for data included: the study's Table 1, and what it does not say."""
    names = curves.precisions
    whole = {name: sum(curves.seconds[name].values()) for name in names}
    rows = [
        (title, *(_part(curves.seconds[name][phase], whole[name]) for name in names))
        for phase, title in PHASES.items()
        if phase != "graph"  # a study's steps are eager
    ]
    rows.append(("**epoch**", *(f"**{whole[name]:.4g} s**" for name in names)))
    rows.append(
        (f"against {names[0]}", "", *(f"{100 * (whole[name] / whole[names[0]] - 1):+.1f} %" for name in names[1:]))
    )
    bounds = (f"{100 * network_share(curves, name):.1f} %" for name in names)
    rows.append(("a network that took no time would save", *bounds))
    head = ["| seconds an epoch | " + " | ".join(names) + " |", "|---|" + "---:|" * len(names)]
    return "\n".join(head + ["| " + " | ".join(row) + " |" for row in rows]) + "\n"


def network_share(curves: RunCurves, precision: str) -> float:
    """What a network that takes no time would save of an epoch, 0 to 1: Amdahl's bound."""
    seconds = curves.seconds[precision]
    whole = sum(seconds.values())
    return (seconds["sample"] + seconds["network backward"]) / whole if whole else float("nan")


def curves_csv(curves: RunCurves) -> str:
    """Every point of every curve."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("precision", "seed", "epoch", *(f"{curve}_loss" for curve in CURVES)))
    for name in curves.precisions:
        for (seed, epoch), train in np.ndenumerate(curves.train[name]):
            writer.writerow((name, seed, epoch, f"{train:.9g}", f"{curves.validation[name][seed, epoch]:.9g}"))
    return text.getvalue()


def draw_curves(curves: RunCurves, path: Path) -> None:
    """Draw train and validation loss by epoch as SVG."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    FigureCanvasSVG(figure)
    for axes, curve in zip(figure.subplots(1, len(CURVES), sharey=True), CURVES, strict=True):
        draw_curve(axes, curves, curve, COLOURS)
        axes.set(title=f"{curve} loss", yscale="log")
        axes.legend(title=f"mean and range of {len(getattr(curves, curve)[curves.precisions[0]])} seeds")
    with whole_file(path) as file:
        figure.savefig(file, format="svg")


def _part(seconds: float, whole: float) -> str:
    return f"{seconds:.4g} s, {100 * seconds / whole:.1f} %"
