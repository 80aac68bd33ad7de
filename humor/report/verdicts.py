"""Answers that judge: the gate's verdicts, which precision pays and is right, whether precisions train alike."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..io.run_tables import RunCurves
from .curve_comparison import CURVES, comparison_sentences
from .document_types import PrecisionCase, Precisions, Training, Verdicts
from .layout import Answer, Figure, Table
from .numbers import TIMES, count, digits, multiple, percent, scaled, unit_of
from .row_charts import bars, points
from .style import Point, Style, style_of
from .svg import SERIES
from .xy_charts import loss_curves

ORDER = ("slower", "unclear", "faster", "passes")
VERDICT_STYLES = {
    "slower": Style(SERIES[1], "D"), "unclear": Style(SERIES[4], "s", hollow=True),
    "faster": Style(SERIES[0], "^"), "passes": Style(SERIES[5], "o"),
}  # fmt: skip


def gate(document: Verdicts, name: str) -> Answer:
    """Did a change make it slower? The verdicts of --against or --benchmark-compare."""
    known = [case if case.verdict in ORDER else replace(case, verdict="unclear") for case in document.cases]
    cases = sorted(known, key=lambda case: (ORDER.index(case.verdict), -(case.change or 0)))
    counts = Counter(case.verdict for case in cases)
    counts["untouched"] = len(document.untouched)
    counted = ", ".join(f"{counts[word]} {word}" for word in (*ORDER, "untouched") if counts[word])
    counted = counted or "no case was compared"
    base, head = document.versions.base.ref, document.versions.head.ref
    sentence = f"{f'{base} → {head}: ' if base and head else ''}{counted}. {document.reason}".strip()
    rows, cells = [], []
    for case in cases:
        shares = case.change, case.low, case.high
        change, low, high = (percent(share, signed=True) for share in shares)
        middle, lowest, highest = (scaled(share, 0.01) for share in shares)
        point = Point(case.verdict, middle, lowest, highest, f"{change} [{low}, {high}]")
        rows.append((case.case.rpartition("::")[2], [point]))
        times = digits(case.base_ms, 4), digits(case.head_ms, 4)
        cells.append([case.case, case.verdict, change, low, high, percent(case.upper_bound, signed=True), *times])
    title = "Change of each case"
    columns = ("case", "verdict", "change", "low", "high", "below, one-sided", "base, ms", "head, ms")
    table = Table(title, columns, cells)
    styles = {word: style for word, style in VERDICT_STYLES.items() if counts[word]}
    chart = points(name, title, "change of the time, %; right is slower", rows, styles, even=0)
    notes = [
        *(f"failed: {case.case}: {case.why}" for case in document.failed),
        *(f"control: {case.case}: {percent(case.change, signed=True)}" for case in document.controls),
        *(f"changed, and run by none of the benchmarks: {name}" for name in document.not_run),
        *document.warnings,
    ]
    return Answer(sentence, [Figure(chart, table)] * bool(cases), notes, document.verdict)


def speedups(document: Precisions, name: str) -> Answer | None:
    """Which precision pays: its speed-up over FP32, with its interval."""
    cases = document.cases
    if not cases:
        return None
    factor, unit = unit_of((case.seconds for case in cases), TIMES)
    rows, cells = [], []
    for case in cases:
        shown = [multiple(x) for x in (case.speedup, case.low, case.high)]
        tooltip = f"{case.precision}: {shown[0]} [{shown[1]}, {shown[2]}], {case.verdict}"
        if case.speedup is not None or not any(other.speedup for other in cases):  # else it is in the table alone
            rows.append((case.case, Point(case.precision, case.speedup, case.low, case.high, tooltip)))
        time = digits(scaled(case.seconds, factor))
        cells.append([case.case, case.precision, case.verdict, *shown, time, case.reason])
    title = "Speed-up over fp32"
    table = Table(title, ("case", "precision", "verdict", "speed-up", "low", "high", f"time, {unit}", "why"), cells)
    chart = points(name, title, "speed-up over fp32; right is faster", _grouped(rows), _styles(cases), even=1)
    return Answer(_pays_sentence(cases), [Figure(chart, table)])


def _pays_sentence(cases: Sequence[PrecisionCase]) -> str:
    sentences = []
    for precision in dict.fromkeys(case.precision for case in cases):
        words = Counter(case.verdict for case in cases if case.precision == precision)
        others = ", ".join(f"{number} {word}" for word, number in words.items() if word != "pays")
        pays = f"{precision} pays in {words['pays']} of {count(words.total(), 'case')}"
        sentences.append(f"{pays} ({others})" if others else pays)
    return "; ".join(sentences) + "."


def accuracy(document: Precisions, name: str) -> Answer | None:
    """Is it still right: each error as a share of its bound."""
    cases = [case for case in document.cases if _share_of_bound(case) is not None]
    if not cases:
        return None
    rows, cells, shares = [], [], []
    for case in cases:
        share, error, bound = _share_of_bound(case) or 0.0, digits(case.error), digits(case.bound)
        tooltip = f"{case.precision}: error {error}, bound {bound}"
        rows.append((case.case, Point(case.precision, share, None, None, tooltip)))
        cells.append([case.case, case.precision, error, bound, percent(share)])
        shares.append((share, f"{case.case}, {case.precision}"))
    over = [label for share, label in shares if share > 1]
    worst, label = max(shares)
    rest = f"beyond it: {'; '.join(over)}" if over else f"the nearest to it, {label}, is at {percent(worst)} of it"
    sentence = f"{len(cases) - len(over)} of {count(len(cases), 'error')} within the bound; {rest}."
    title = "Error against its bound"
    axis = "error as a multiple of its bound; right of 1 is wrong"
    chart = points(name, title, axis, _grouped(rows), _styles(cases), even=1)
    table = Table(title, ("case", "precision", "error", "bound", "of the bound"), cells)
    return Answer(sentence, [Figure(chart, table)], word="wrong" if over else "")


def _share_of_bound(case: PrecisionCase) -> float | None:
    """The error as a multiple of its bound; None where either is not known."""
    return case.error / case.bound if case.error is not None and case.bound and case.bound > 0 else None


def _styles(cases: Sequence[PrecisionCase]) -> dict[str, Style]:
    return {case.precision: style_of(case.precision) for case in cases}


def _grouped(points: Sequence[tuple[str, Point]]) -> list[tuple[str, list[Point]]]:
    """The points of a label as one row."""
    rows: dict[str, list[Point]] = {}
    for label, point in points:
        rows.setdefault(label, []).append(point)
    return list(rows.items())


def training(document: Training, name: str) -> Answer:
    """Loss by epoch, where the time goes, and whether the precisions of a study train alike."""
    runs = document.curves
    verdicts = comparison_sentences(runs)
    brief = " ".join(sentence.partition(": ")[0] + "." for sentence in verdicts)
    if not verdicts:
        (only,) = runs.precisions
        losses = {curve: getattr(runs, curve)[only][0] for curve in CURVES}
        ends = [f"{c} loss from {digits(x[0])} to {digits(x[-1])}" for c, x in losses.items() if np.isfinite(x).all()]
        brief = f"{only}, {count(len(losses['train']), 'epoch')}: {', '.join(ends) or 'no loss is finite'}."
    return Answer(brief, [*_loss_figures(runs, name), _epoch_figure(runs, name)], verdicts)


def _loss_figures(runs: RunCurves, name: str) -> list[Figure]:
    figures = []
    for curve in CURVES:
        losses = getattr(runs, curve)
        if not np.isfinite(np.concatenate(list(losses.values()))).any():
            continue  # nothing was validated
        title = f"{curve.capitalize()} loss"
        epochs = losses[runs.precisions[0]].shape[1]
        columns, cells = ["epoch"], [[str(epoch + 1)] for epoch in range(epochs)]
        for precision in runs.precisions:
            several = len(losses[precision]) > 1
            columns += [precision, *([f"{precision}, lowest", f"{precision}, highest"] if several else [])]
            for row, values in zip(cells, losses[precision].T, strict=True):
                row += [digits(x, 4) for x in ([values.mean(), values.min(), values.max()] if several else values)]
        figures.append(Figure(loss_curves(f"{name}-{curve}", title, runs, curve), Table(title, columns, cells)))
    return figures


def _epoch_figure(runs: RunCurves, name: str) -> Figure:
    seconds = [runs.seconds[precision] for precision in runs.precisions]
    phases = [phase for phase in seconds[0] if any(times[phase] for times in seconds)]
    rows = [
        (precision, [times[phase] for phase in phases])
        for precision, times in zip(runs.precisions, seconds, strict=True)
    ]
    title = "Time of an epoch by phase"
    cells = [[precision, *map(digits, times), digits(sum(times))] for precision, times in rows]
    table = Table(title, ("run", *(f"{phase}, s" for phase in phases), "epoch, s"), cells)
    return Figure(bars(f"{name}-epoch", title, "s", rows, phases), table)
