"""Predictions as text; every table and sentence says "predicted"."""

import io
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

Document = dict[str, Any]
WIDTH = 140


def lines(document: Document) -> list[str]:
    """A prediction document as lines of text."""
    found = [*_constants(document)]
    if document["published"]:
        found += ["", *_study(document["published"])]
    found += ["", *_cases(document)]
    if "order" in document:
        found += ["", *_order(document["order"])]
    if document["widths"]:
        found += ["", *_widths(document)]
    return [*found, ""]


def _constants(document: Document) -> list[str]:
    known = document["constants"]
    rates = ", ".join(f"{name} {rate / 1e12:.3g}" for name, rate in known["rates"].items())
    host = f"{1e6 * known['launch']:.3g} us to launch a kernel and {1e6 * known['dispatch']:.3g} us for a view"
    numbers = f"TFLOP/s of {rates}; {known['bandwidth'] / 1e9:.3g} GB/s; {host}"
    if "sheet" not in known:
        return [f"predicted for {document['gpu']} from what was measured on it: {numbers}"]
    return [
        f"predicted for {document['gpu']} from {numbers}",
        f"predicted with {100 * known['achieved']:.0f} % of the peaks in: {known['sheet']}; "
        f"the host's costs are fitted to {known['fitted']}; the float16 numbers were in view, too",
    ]


def _study(rows: Iterable[Document]) -> list[str]:
    cells = [
        (
            f"Table {row['table']}: {row['phase']}, width {row['width']}",
            row["precision"],
            f"{row['published_ms']:.2f}",
            f"{row['predicted_ms']:.2f}",
            f"{100 * (row['predicted_ms'] / row['published_ms'] - 1):+.0f} %",
            "fitted" if row["fitted"] else "predicted",
        )
        for row in rows
    ]
    return _table(
        "predicted beside published: the study's step of 8 windows on a T4, ms",
        ("", "", "published", "predicted", "error", ""),
        cells,
    )


def _cases(document: Document) -> list[str]:
    measured = any(row.get("measured") for row in document["cases"])
    cells = [
        (
            row["case"],
            row["precision"],
            f"{1000 * row['predicted']:.3g}",
            row["bound_by"],
            *([f"{1000 * row['measured']:.3g}" if row.get("measured") else ""] if measured else []),
        )
        for row in document["cases"]
    ]
    header = ("case", "precision", "predicted", "bound by", *(["measured"] if measured else []))
    return _table(f"predicted for {document['gpu']}, ms", header, cells)


def _order(order: Document) -> list[str]:
    if not order["pairs"]:
        return ["predicted order of precisions: no case was measured in two of them"]
    share = f"{order['alike']} of {order['pairs']} pairs ({100 * order['alike'] / order['pairs']:.0f} %)"
    wrong = [f"{case} {alike} of {pairs}" for case, (alike, pairs) in order["cases"].items() if alike < pairs]
    found = [f"predicted and measured order of precisions agree in {share}; a coin would in half of them"]
    return [*found, f"predicted in another order: {', '.join(wrong)}"] if wrong else found


def _widths(document: Document) -> list[str]:
    rows = document["widths"]
    widths = sorted(rows[0]["speedup"])
    cells = [
        (
            f"{row['loss']} loss, {row['windows']} windows",
            row["precision"],
            *(_speedup(row["speedup"][width]) for width in widths),
            "nowhere" if row["pays_from"] is None else f"width {row['pays_from']}",
        )
        for row in rows
    ]
    found = _table(
        f"predicted speed-up of the step over fp32 on {document['gpu']}, by width (fp8: at best)",
        ("", "", *map(str, widths), "a tenth from"),
        cells,
    )
    if any(None in row["speedup"].values() for row in rows):
        found.append("predicted not to fit: the weights, their gradients and the optimizer's averages are too large")
    return found


def _speedup(value: float | None) -> str:
    return "no room" if value is None else f"{value:.2f}"


def _table(title: str, header: Sequence[str], cells: Iterable[Sequence[str]]) -> list[str]:
    table = Table(box=None)
    for position, name in enumerate(header):
        table.add_column(name, justify="left" if position < 2 else "right", no_wrap=True)
    for row in cells:
        table.add_row(*row)
    console = Console(file=io.StringIO(), width=WIDTH, markup=False, highlight=False)
    console.print(table)
    return [title, *(line.rstrip() for line in console.file.getvalue().splitlines())]  # type: ignore[attr-defined]
