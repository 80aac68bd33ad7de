"""A profile as tables: the study's Tables 2 and 3 and what its Figures 3 and 4 show, for this machine."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.table import Table

from ..io.files import write_whole
from ..training.phase_timer import PHASES
from .phase_limits import phase_limits
from .published import PUBLISHED_BATCH, PUBLISHED_TIMES

TITLES = {**PHASES, "backward": "backward"}  # through loss and network, which a profile does not separate


def write_profile(document: Mapping[str, Any], out: Path) -> None:
    """Write OUT/profile.json. Raises FileError."""
    write_whole(out / "profile.json", (json.dumps(document, indent=1, allow_nan=False) + "\n").encode())


def headline(document: Mapping[str, Any]) -> str:
    """What the tables were measured on, and how to read them."""
    machine = document["machine"]
    place = machine["device"] if machine["device"] != "cpu" else f"{machine['name']}, {machine['threads']} threads"
    how = f"{place}, PyTorch {machine['torch']}, {document['execution']}"
    first = f"{how}; medians of the steps after warm-up; first: the first step, which is in no median"
    rates = document.get("rates")
    if not rates:
        return first
    speeds = ", ".join(f"{name} {speed / 1e9:.3g}" for name, speed in rates["multiply"].items())
    return (
        f"{first}\nlimit: the longer of multiplies ({speeds} GFLOP/s in a large one) and memory (every operator's "
        f"bytes at the {rates['copy'] / 1e9:.3g} GB/s of a large copy, which caches may beat); a launch takes "
        f"{1e6 * rates['launch']:.2g} us"
    )


def profile_tables(document: Mapping[str, Any]) -> list[Table]:
    """What a document of kind "profile" says, a table for each width and one for the linear layers."""
    widths = dict.fromkeys(run["width"] for run in document["runs"])
    tables = [_step_table(document, width) for width in widths]
    tables += [_work_table(document)] if document.get("rates") else []
    return tables + ([_linear_table(document)] if document["linear"] else [])


def _step_table(document: Mapping[str, Any], width: int) -> Table:
    """A row for each phase and for the whole step; for each precision its columns."""
    runs = [run for run in document["runs"] if run["width"] == width]
    published = [time for time in PUBLISHED_TIMES if time.width == width and document["batch"] == PUBLISHED_BATCH]
    on_gpu = any(phase["device"] is not None for run in runs for phase in run["phases"].values())
    with_limits = ["limit"] if document.get("rates") else []
    kinds = ["host", *(["device"] if on_gpu else []), *with_limits, "first"]
    title = f"width {width}, {document['batch']} windows"
    table = Table(
        title=f"{title}: the study's Table {published[0].table}" if published else title, title_justify="left"
    )
    table.add_column("ms")
    heads = [
        f"{run['precision']} {kind}" if on_gpu or kind != "host" else run["precision"] for run in runs for kind in kinds
    ]
    precisions = dict.fromkeys(time.precision for time in published)
    for head in (*heads, *(f"published, T4: {precision}" for precision in precisions)):
        table.add_column(head, justify="right")
    for phase, title in TITLES.items():
        times = [{**run["phases"].get(phase, {}), "limit": phase_limits(run).get(phase)} for run in runs]
        cells = [_ms(time.get(kind)) for time in times for kind in kinds]
        if any("host" in time for time in times):
            table.add_row(title, *cells, *(f"{time.milliseconds:.2f}" for time in published if time.phase == phase))
    wholes = [_whole(run, runs[0]) for run in runs]
    for title in wholes[0]:
        table.add_row(title, *(whole[title].get(kind, "") for whole in wholes for kind in kinds))
    return table


def _whole(run: Mapping[str, Any], reference: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """What is said of a run's steps as wholes, of their limit, and of its first, by the kind of column."""
    change = "" if run is reference else f"{100 * (run['step'] / reference['step'] - 1):+.1f} %"
    memory = {} if run["peak_bytes"] is None else {"most memory, GB": {"host": f"{run['peak_bytes'] / 1e9:.2f}"}}
    limits = phase_limits(run)
    prepared = (limits.get("prepare"), limits["graph"])
    limit = None if None in prepared else sum(filter(None, prepared))
    return {
        "other": {"host": _ms(run["other"])},
        "step": {"host": _ms(run["step"]), "limit": _ms(limit), "first": _ms(run["first"])},
        "middle half": {"host": f"{_ms(run['step_low'])} to {_ms(run['step_high'])}"},
        f"against {reference['precision']}": {"host": change},
        "steps": {"host": str(run["steps"])},
        **memory,
    }


def _work_table(document: Mapping[str, Any]) -> Table:
    """What the phases' limits are made of."""
    table = Table(title="what a phase's limit is made of", title_justify="left")
    counts, times = ("GFLOP", "MB", "launches"), ("multiplies, ms", "memory, ms", "launches, ms")
    for column in ("width", "precision", "phase", *counts, *times):
        table.add_column(column, justify="left" if column in ("precision", "phase") else "right")
    for run in document["runs"]:
        for phase, work in run["work"].items():
            counted = (sum(work["operations"].values()) / 1e9, work["bytes"] / 1e6)
            table.add_row(
                str(run["width"]),
                run["precision"],
                phase,
                *(f"{number:.3g}" for number in counted),
                str(work["launches"]),
                *(_ms(seconds) for seconds in work["limits"].values()),
            )
    return table


def _linear_table(document: Mapping[str, Any]) -> Table:
    title = f"one linear layer forward, {document['linear'][0]['rows']} rows: the study's Figures 3 and 4"
    table = Table(title=title, title_justify="left")
    for column in ("ms", "precision", "casts", "launch, dispatch", "kernel", "total"):
        table.add_column(column, justify="left" if column == "precision" else "right")
    for call in document["linear"]:
        size = f"{call['size']} x {call['size']}"
        table.add_row(size, call["precision"], *(_ms(call[part]) for part in ("casts", "launch", "kernel", "total")))
    return table


def _ms(seconds: float | None) -> str:
    """Three digits where there are so few."""
    if seconds is None:
        return ""
    ms = 1000 * seconds
    return f"{ms:.0f}" if abs(ms) >= 100 else f"{ms:.3g}" if abs(ms) >= 0.001 else "0"
