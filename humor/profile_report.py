"""A profile on paper: the study's Tables 2 and 3 and what its Figures 3 and 4 show, for the machine in front of us."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from .files import write_whole

TITLES = {
    "wait": "wait for data",
    "prepare": "prepare data",
    "sample": "sample (network forward)",
    "loss": "loss",
    "backward": "backward",
    "optimize": "optimize",
    "graph": "recorded graph: all after prepare",
}
PUBLISHED_BATCH = 8
# The study's Table 2 and Table 3 by width, milliseconds on an NVIDIA T4, fp32 and fp16.
PUBLISHED: Mapping[int, tuple[str, Mapping[str, tuple[float, float]]]] = {
    1: ("Table 2", {"prepare": (3.80, 4.11), "sample": (6.36, 8.42), "loss": (84.47, 98.05)}),
    4: ("Table 3", {"sample": (17.11, 9.00)}),
}


def write_profile(document: Mapping[str, Any], out: Path) -> None:
    """Write OUT/profile.json. Raises FileError."""
    write_whole(out / "profile.json", (json.dumps(document, indent=1, allow_nan=False) + "\n").encode())


def profile_tables(document: Mapping[str, Any]) -> list[Table]:
    """What a document of kind "profile" says, a table for each width and one for the linear layers."""
    widths = dict.fromkeys(run["width"] for run in document["runs"])
    tables = [_step_table(document, width) for width in widths]
    return tables + ([_linear_table(document)] if document["linear"] else [])


def _step_table(document: Mapping[str, Any], width: int) -> Table:
    runs = [run for run in document["runs"] if run["width"] == width]
    name, published = PUBLISHED.get(width, ("", {})) if document["batch"] == PUBLISHED_BATCH else ("", {})
    on_gpu = any(phase["device"] is not None for run in runs for phase in run["phases"].values())
    kinds = ("host", "device", "first") if on_gpu else ("host", "first")
    table = Table(title=_title(document, f"width {width}, {document['batch']} windows" + (f": {name}" if name else "")))
    table.title_justify, table.caption_justify = "left", "left"
    table.caption = "median of the steps after warm-up; first: the first step, which is in no median"
    table.add_column("ms")
    heads = [
        f"{run['precision']} {kind}" if on_gpu or kind == "first" else run["precision"]
        for run in runs
        for kind in kinds
    ]
    for head in (*heads, *((f"published, T4: {precision}" for precision in ("fp32", "fp16")) if name else ())):
        table.add_column(head, justify="right")
    for phase, title in TITLES.items():
        cells = [_ms(run["phases"].get(phase, {}).get(kind)) for run in runs for kind in kinds]
        if any(cells):
            table.add_row(title, *cells, *map(_ms_given, published.get(phase, ())))
    for title, row in _whole_rows(runs, kinds):
        table.add_row(title, *row)
    return table


def _whole_rows(runs: Sequence[Mapping[str, Any]], kinds: Sequence[str]) -> list[tuple[str, list[str]]]:
    """What is said of a step as a whole; each run's first column says it, and the last the first step's time."""
    blank = [""] * (len(kinds) - 2)
    reference = runs[0]["step"]
    told = {
        "other": [(_ms(run["other"]), "") for run in runs],
        "step": [(_ms(run["step"]), _ms(run["first"])) for run in runs],
        "middle half": [(f"{_ms(run['step_low'])} to {_ms(run['step_high'])}", "") for run in runs],
        f"against {runs[0]['precision']}": [
            ("", ""),
            *((f"{100 * (run['step'] / reference - 1):+.1f} %", "") for run in runs[1:]),
        ],
        "steps": [(str(run["steps"]), "") for run in runs],
    }
    if any(run["peak_bytes"] is not None for run in runs):
        told["most memory, GB"] = [(f"{(run['peak_bytes'] or 0) / 1e9:.2f}", "") for run in runs]
    return [(title, [cell for host, first in row for cell in (host, *blank, first)]) for title, row in told.items()]


def _linear_table(document: Mapping[str, Any]) -> Table:
    rows = document["linear"][0]["rows"]
    table = Table(
        title=_title(document, f"one linear layer forward, {rows} rows: Figures 3 and 4"), title_justify="left"
    )
    for column in ("ms", "precision", "casts", "launch, dispatch", "kernel", "total"):
        table.add_column(column, justify="left" if column == "precision" else "right")
    for call in document["linear"]:
        size = f"{call['size']} x {call['size']}"
        table.add_row(size, call["precision"], *(_ms(call[part]) for part in ("casts", "launch", "kernel", "total")))
    return table


def _title(document: Mapping[str, Any], what: str) -> str:
    machine = document["machine"]
    place = machine["device"] if machine["device"] != "cpu" else f"{machine['name']}, {machine['threads']} threads"
    return f"{what} ({place}, PyTorch {machine['torch']}, {document['execution']})"


def _ms(seconds: float | None) -> str:
    """Three digits where there are so few."""
    if seconds is None:
        return ""
    ms = 1000 * seconds
    return f"{ms:.0f}" if abs(ms) >= 100 else f"{ms:.3g}" if abs(ms) >= 0.001 else "0"


def _ms_given(ms: float) -> str:
    return f"{ms:.2f}"
