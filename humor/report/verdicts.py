"""The blocks that judge: the gate's verdicts, which precision pays and is right, whether precisions train alike."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..study.tables import CURVES, sentences
from ..study.trainings import StudyResult
from ..training.phase_timer import PHASES
from .blocks import Block, Figure, Table, source_of
from .documents import Document, table_of
from .numbers import TIMES, count, digits, multiple, percent, scaled, unit_of
from .row_charts import bars, points
from .style import Point, Style, style_of
from .svg import SERIES
from .xy_charts import curves

ORDER = ("slower", "unclear", "faster", "same")
VERDICT_STYLES = {
    "slower": Style(SERIES[1], "D"), "unclear": Style(SERIES[4], "s", hollow=True),
    "faster": Style(SERIES[0], "^"), "same": Style(SERIES[5], "o"),
}  # fmt: skip


def gate(document: Document, name: str) -> Block:
    """Did a change make it slower? The verdicts of --against or --benchmark-compare."""
    content = document.content
    known = [case if case["verdict"] in ORDER else {**case, "verdict": "unclear"} for case in content["cases"]]
    cases = sorted(known, key=lambda case: (ORDER.index(case["verdict"]), -(case["change"] or 0)))
    counts = Counter(case["verdict"] for case in cases)
    found = ", ".join(f"{counts[word]} {word}" for word in ORDER if counts[word]) or "no case was compared"
    base, head = (table_of(content, "versions", side).get("ref") for side in ("base", "head"))
    sentence = f"{f'{base} → {head}: ' if base and head else ''}{found}. {content['reason']}".strip()
    rows, cells = [], []
    for case in cases:
        shares = [case[key] for key in ("change", "low", "high")]
        change, low, high = (percent(share, signed=True) for share in shares)
        middle, lowest, highest = (scaled(share, 0.01) for share in shares)
        point = Point(case["verdict"], middle, lowest, highest, f"{change} [{low}, {high}]")
        rows.append((case["case"].rpartition("::")[2], [point]))
        times = digits(case["base_ms"], 4), digits(case["head_ms"], 4)
        cells.append([case["case"], case["verdict"], change, low, high, *times])
    title = "Change of each case"
    table = Table(title, ("case", "verdict", "change", "low", "high", "base, ms", "head, ms"), cells)
    styles = {word: style for word, style in VERDICT_STYLES.items() if counts[word]}
    chart = points(name, title, "change of the time, %; right is slower", rows, styles, even=0)
    notes = [*_failures(content), *content["warnings"]]
    return Block(sentence, [Figure(chart, table)] * bool(cases), source_of(document), notes, content["verdict"])


def _failures(content: Any) -> list[str]:
    failed = content.get("failed")
    tables = [table_of(entry) for entry in failed] if isinstance(failed, list) else []
    return [f"failed: {entry.get('case')}: {entry.get('why')}" for entry in tables]


def pays(document: Document, name: str) -> Block | None:
    """Which precision pays: its speed-up over FP32, with its interval."""
    cases = document.content["cases"]
    if not cases:
        return None
    factor, unit = unit_of((case["seconds"] for case in cases), TIMES)
    rows, cells = [], []
    for case in cases:
        speedup, low, high = (case[key] for key in ("speedup", "low", "high"))
        shown = [multiple(x) for x in (speedup, low, high)]
        told = f"{case['precision']}: {shown[0]} [{shown[1]}, {shown[2]}], {case['verdict']}"
        if speedup is not None or not any(other["speedup"] for other in cases):  # what was not timed is in the table
            rows.append((case["case"], Point(case["precision"], speedup, low, high, told)))
        time = digits(scaled(case["seconds"], factor))
        cells.append([case["case"], case["precision"], case["verdict"], *shown, time, case["reason"]])
    title = "Speed-up over fp32"
    table = Table(title, ("case", "precision", "verdict", "speed-up", "low", "high", f"time, {unit}", "why"), cells)
    chart = points(name, title, "speed-up over fp32; right is faster", _grouped(rows), _styles(cases), even=1)
    return Block(_pays_sentence(cases), [Figure(chart, table)], source_of(document))


def _pays_sentence(cases: Sequence[Any]) -> str:
    told = []
    for precision in dict.fromkeys(case["precision"] for case in cases):
        words = Counter(case["verdict"] for case in cases if case["precision"] == precision)
        others = ", ".join(f"{number} {word}" for word, number in words.items() if word != "pays")
        pays = f"{precision} pays in {words['pays']} of {count(words.total(), 'case')}"
        told.append(f"{pays} ({others})" if others else pays)
    return "; ".join(told) + "."


def right(document: Document, name: str) -> Block | None:
    """Is it still right: each error as a share of its bound."""
    cases = [case for case in document.content["cases"] if case["error"] is not None and (case["bound"] or 0) > 0]
    if not cases:
        return None
    rows, cells, shares = [], [], []
    for case in cases:
        share, error, bound = case["error"] / case["bound"], digits(case["error"]), digits(case["bound"])
        told = f"{case['precision']}: error {error}, bound {bound}"
        rows.append((case["case"], Point(case["precision"], share, None, None, told)))
        cells.append([case["case"], case["precision"], error, bound, percent(share)])
        shares.append((share, f"{case['case']}, {case['precision']}"))
    over = [label for share, label in shares if share > 1]
    worst, label = max(shares)
    rest = f"beyond it: {'; '.join(over)}" if over else f"the nearest to it, {label}, is at {percent(worst)} of it"
    sentence = f"{len(cases) - len(over)} of {count(len(cases), 'error')} within the bound; {rest}."
    title = "Error against its bound"
    axis = "error as a multiple of its bound; right of 1 is wrong"
    chart = points(name, title, axis, _grouped(rows), _styles(cases), even=1)
    table = Table(title, ("case", "precision", "error", "bound", "of the bound"), cells)
    return Block(sentence, [Figure(chart, table)], source_of(document), word="wrong" if over else "")


def _styles(cases: Sequence[Any]) -> dict[str, Style]:
    names = list(dict.fromkeys(case["precision"] for case in cases))
    return {name: style_of(name, names) for name in names}


def _grouped(points: Sequence[tuple[str, Point]]) -> list[tuple[str, list[Point]]]:
    """The points of a label as one row."""
    rows: dict[str, list[Point]] = {}
    for label, point in points:
        rows.setdefault(label, []).append(point)
    return list(rows.items())


def training(document: Document, name: str) -> Block:
    """Loss by epoch, where it goes, and whether the precisions of a study train alike."""
    result: StudyResult = document.content["result"]
    told = sentences(result)
    brief = " ".join(sentence.partition(": ")[0] + "." for sentence in told)
    if not told:
        (only,) = result.precisions
        losses = {curve: getattr(result, curve)[only][0] for curve in CURVES}
        ends = [f"{c} loss from {digits(x[0])} to {digits(x[-1])}" for c, x in losses.items() if np.isfinite(x).all()]
        brief = f"{only}, {count(len(losses['train']), 'epoch')}: {', '.join(ends) or 'no loss is finite'}."
    return Block(brief, [*_curves(result, name), _epoch(result, name)], source_of(document), told)


def _curves(result: StudyResult, name: str) -> list[Figure]:
    figures = []
    for curve in CURVES:
        losses = getattr(result, curve)
        if not np.isfinite(np.concatenate(list(losses.values()))).any():
            continue  # nothing was validated
        title = f"{curve.capitalize()} loss"
        epochs = losses[result.precisions[0]].shape[1]
        columns, cells = ["epoch"], [[str(epoch + 1)] for epoch in range(epochs)]
        for precision in result.precisions:
            several = len(losses[precision]) > 1
            columns += [precision, *([f"{precision}, lowest", f"{precision}, highest"] if several else [])]
            for row, values in zip(cells, losses[precision].T, strict=True):
                row += [digits(x, 4) for x in ([values.mean(), values.min(), values.max()] if several else values)]
        figures.append(Figure(curves(f"{name}-{curve}", title, result, curve), Table(title, columns, cells)))
    return figures


def _epoch(result: StudyResult, name: str) -> Figure:
    phases = [phase for phase in PHASES if any(result.seconds[precision][phase] for precision in result.precisions)]
    rows = [(precision, [result.seconds[precision][phase] for phase in phases]) for precision in result.precisions]
    title = "Time of an epoch by phase"
    cells = [[precision, *map(digits, times), digits(sum(times))] for precision, times in rows]
    table = Table(title, ("run", *(f"{phase}, s" for phase in phases), "epoch, s"), cells)
    return Figure(bars(f"{name}-epoch", title, "s", rows, phases), table)
