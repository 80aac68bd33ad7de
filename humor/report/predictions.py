"""The blocks of what was predicted for another GPU, never to be taken for measured."""

from .blocks import Block, Figure, Table, source_of
from .documents import Document
from .numbers import TIMES, count, digits, percent, scaled, unit_of, whole
from .row_charts import points
from .style import Point, Style
from .svg import SERIES


def published(document: Document, name: str) -> Block | None:
    """What was predicted for another GPU, against what the study published of it."""
    gpu, rows = document.content["gpu"], document.content["published"]
    styles = {"published": Style(SERIES[5], "o"), "predicted": Style(SERIES[0], "D", hollow=True)}
    drawn, cells, off = [], [], []
    for row in rows:
        label = (
            f"table {whole(row['table'])}, width {whole(row['width'])}, {row['phase']}, {row['precision']}"
            + " (fitted)" * bool(row.get("fitted"))
        )
        both = {"published": row["published_ms"], "predicted": row["predicted_ms"]}
        drawn.append((label, [Point(kind, ms, None, None, f"{kind} {digits(ms)} ms") for kind, ms in both.items()]))
        error = (
            both["predicted"] / both["published"] - 1 if both["published"] and both["predicted"] is not None else None
        )
        fitted = bool(row.get("fitted"))
        cells.append([label, *map(digits, both.values()), percent(error, signed=True), "fitted" if fitted else ""])
        off += [abs(error)] if error is not None and not fitted else []
    if not rows:
        return None
    title = f"Predicted for a {gpu}, beside what was published"
    table = Table(title, ("number", "published, ms", "predicted, ms", "off by", "used to fit"), cells)
    sentence = f"Predicted for a {gpu}, not measured: "
    sentence += (
        f"of {count(len(off), 'published number')} that the model was not fitted to, it is off by "
        f"{percent(sorted(off)[len(off) // 2])} at the middle and {percent(max(off))} at most."
        if off else "every published number was used to fit the model, so that none tests it."
    )  # fmt: skip
    chart = points(name, title, "ms", drawn, styles)
    return Block(sentence, [Figure(chart, table)], source_of(document))


def predicted(document: Document, name: str) -> Block | None:
    """How long each case was predicted to take on another GPU, and what binds it."""
    gpu, cases = document.content["gpu"], document.content["cases"]
    if not cases:
        return None
    factor, unit = unit_of((case["predicted"] for case in cases), TIMES)
    bounds = list(dict.fromkeys(case["bound_by"] for case in cases))
    styles = {bound: Style(SERIES[at % len(SERIES)], "Dos^v"[at % 5], hollow=True) for at, bound in enumerate(bounds)}
    rows, cells = [], []
    for case in cases:
        label, time = f"{case['case']}, {case['precision']}", scaled(case["predicted"], factor)
        told = f"predicted {digits(time)} {unit}, bound by {case['bound_by']}"
        rows.append((label, [Point(case["bound_by"], time, None, None, told)]))
        work = (scaled(case["flops"], 1e9), scaled(case["bytes"], 1e6), case["kernels"])
        cells.append([label, digits(time), case["bound_by"], digits(work[0]), digits(work[1]), whole(work[2])])
    title = f"Predicted times on a {gpu}"
    table = Table(title, ("case", f"predicted, {unit}", "bound by", "GFLOP", "MB", "kernels"), cells)
    often = max(bounds, key=lambda bound: sum(case["bound_by"] == bound for case in cases))
    held = sum(case["bound_by"] == often for case in cases)
    sentence = f"Predicted for a {gpu}, not measured: {often} binds {held} of {count(len(cases), 'case')}."
    return Block(
        sentence, [Figure(points(name, title, f"predicted, {unit}", rows, styles), table)], source_of(document)
    )
