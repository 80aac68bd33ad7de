"""The block of saved runs: how each case moved from run to run."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from .blocks import Block, Figure, Table, source_of, when_of
from .documents import Document, table_of
from .numbers import TIMES, count, digits, unit_of
from .svg import SERIES
from .xy_charts import Curve, lines

MOST_COLOURED = 6  # curves
MATTERS = 0.03  # the smallest change that is marked: the gate's own default
NOTE = (
    f"A mark (▲ slower, ▼ faster) is a median that moved by {100 * MATTERS:.0f} % or more, with the middle halves of "
    "both runs apart, on one machine with one PyTorch. It is no verdict: runs apart in time see the machine's drift, "
    "which only the gate takes into account."
)


def history(documents: Sequence[Document], name: str) -> Block | None:
    """How each case's median moved over saved runs, the oldest first, with what changed by more than its spread."""
    runs = sorted(documents, key=lambda document: document.content["datetime"])
    series = {case: stats for case in _cases(runs) if any(stats := [_stats(run, case) for run in runs])}
    if len(runs) < 2 or not series:
        return None
    moves = {case: _moves(stats, runs) for case, stats in series.items()}
    ticks = [_tick(run) for run in runs]
    factor, unit = unit_of((s["median"] for stats in series.values() for s in stats if s), TIMES)
    cells = [
        [case, *(_cell(s, factor, moves[case].get(at)) for at, s in enumerate(stats))] for case, stats in series.items()
    ]
    title = "Saved runs, against the first"
    table = Table(title, (f"median, {unit}", *ticks), cells)
    ratios = [ratio for moved in moves.values() for ratio in moved.values()]
    slower = sum(ratio > 1 for ratio in ratios)
    marked = f"{slower} slower, {len(ratios) - slower} faster" if ratios else "none"
    sentence = (
        f"{count(len(runs), 'run')} of {count(len(series), 'case')}; marked changes from the run before: {marked}."
    )
    chart = lines(name, title, "median, that of the first run = 1×", ticks, _curves(series, moves))
    return Block(sentence, [Figure(chart, table)], source_of(runs[-1]), [NOTE, *_breaks(runs)])


def _curves(series: Mapping[str, Sequence[Any]], moves: Mapping[str, Mapping[int, float]]) -> list[Curve]:
    """Each case as a multiple of its first time; those that moved most have a colour."""
    changed = sorted(filter(moves.get, moves), key=lambda case: -max(abs(math.log(m)) for m in moves[case].values()))
    curves = []
    for case, stats in series.items():
        first = next(s["median"] for s in stats if s)
        colour = SERIES[changed.index(case)] if case in changed[:MOST_COLOURED] else None
        curves.append(Curve(case, [s["median"] / first if s else None for s in stats], colour, list(moves[case])))
    return curves


def _cases(runs: Sequence[Document]) -> list[str]:
    return list(dict.fromkeys(bench["name"] for run in runs for bench in run.content["benchmarks"]))


def _stats(run: Document, case: str) -> Any:
    return next((stats_of(bench) for bench in run.content["benchmarks"] if bench["name"] == case), None)


def stats_of(bench: Any) -> Any:
    """What pytest-benchmark found of a case, if it measured it."""
    stats = bench["stats"]
    return stats if stats and all((stats[key] or 0) > 0 for key in ("median", "q1", "q3")) else None


def _moves(stats: Sequence[Any], runs: Sequence[Document]) -> dict[int, float]:
    """The factor of each run whose median moved, against the last one before that has the case."""
    moved, before = {}, None
    for at, now in enumerate(stats):
        if now and before is not None and _setting(runs[at]) == _setting(runs[before]):
            then, ratio = stats[before], now["median"] / stats[before]["median"]
            if abs(ratio - 1) >= MATTERS and (now["q1"] > then["q3"] or now["q3"] < then["q1"]):
                moved[at] = ratio
        before = at if now else before
    return moved


def _setting(run: Document) -> tuple[Any, ...]:
    machine, fingerprint = table_of(run.content, "machine_info"), table_of(run.content, "machine_info", "fingerprint")
    return machine.get("device"), machine.get("torch"), machine.get("threads"), fingerprint.get("machine")


def _breaks(runs: Sequence[Document]) -> list[str]:
    return [
        f"{_tick(b)}: another machine, PyTorch or number of threads than the run before; nothing is marked."
        for a, b in pairwise(runs)
        if _setting(a) != _setting(b)
    ]


def _tick(run: Document) -> str:
    commit = str(table_of(run.content, "commit_info").get("id") or "")[:7]
    return ", ".join(filter(None, (when_of(run.content["datetime"]), commit)))


def _cell(stats: Any, factor: float, moved: float | None) -> str:
    sign = "" if moved is None else " ▲" if moved > 1 else " ▼"
    return digits(stats["median"] / factor if stats else None) + sign
