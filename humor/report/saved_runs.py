"""The answer from several saved runs: how each case moved from run to run."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from .document_types import BenchmarkStats, SavedRun
from .layout import Answer, Figure, Table, minute_of
from .numbers import TIMES, count, digits, unit_of
from .schema import Number
from .svg import SERIES
from .xy_charts import Curve, lines

MOST_COLOURED = 6  # curves
MATTERS = 0.03  # the smallest change that is marked: the gate's default
NOTE = (
    f"A mark (▲ slower, ▼ faster) is a median that moved by {100 * MATTERS:.0f} % or more, with the middle halves of "
    "both runs apart, on one machine with one PyTorch. It is no verdict: runs taken at different times differ by "
    "machine drift, which only the gate takes into account."
)


@dataclass(frozen=True)
class Timing:
    """What a case took in one run, seconds."""

    median: float
    q1: float
    q3: float
    rounds: Number


def timing_of(stats: BenchmarkStats) -> Timing | None:
    """The times of a benchmark, if it was measured."""
    times = [x for x in (stats.median, stats.q1, stats.q3) if x is not None and x > 0]
    if len(times) < 3:
        return None
    middle, low, high = times
    return Timing(middle, low, high, stats.rounds)


Series = Mapping[str, Sequence[Timing | None]]  # of each case, one for each run
Moves = Mapping[str, Mapping[int, float]]  # of each case, the factor of each run where it moved


def history(runs: Sequence[SavedRun], name: str) -> Answer | None:
    """How each case's median moved over saved runs, the oldest first, with what changed by more than its spread."""
    times = [_times(run) for run in runs]
    cases = dict.fromkeys(bench.name for run in runs for bench in run.benchmarks)
    series: Series = {case: row for case in cases if any(row := [by_case.get(case) for by_case in times])}
    if len(runs) < 2 or not series:
        return None
    moves = {case: _moves(row, runs) for case, row in series.items()}
    ticks = [_tick(run) for run in runs]
    factor, unit = unit_of((timing.median for row in series.values() for timing in row if timing), TIMES)
    cells = [
        [case, *(_cell(timing, factor, moves[case].get(at)) for at, timing in enumerate(row))]
        for case, row in series.items()
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
    return Answer(sentence, [Figure(chart, table)], [NOTE, *_breaks(runs)])


def _times(run: SavedRun) -> dict[str, Timing | None]:
    """By case; the first of each name."""
    return {bench.name: timing_of(bench.stats) for bench in reversed(run.benchmarks)}


def _curves(series: Series, moves: Moves) -> list[Curve]:
    """Each case as a multiple of its first time; those that moved most have a colour."""
    changed = sorted(filter(moves.get, moves), key=lambda case: -max(abs(math.log(m)) for m in moves[case].values()))
    curves = []
    for case, row in series.items():
        first = next(timing.median for timing in row if timing)
        colour = SERIES[changed.index(case)] if case in changed[:MOST_COLOURED] else None
        values = [timing.median / first if timing else None for timing in row]
        curves.append(Curve(case, values, colour, list(moves[case])))
    return curves


def _moves(row: Sequence[Timing | None], runs: Sequence[SavedRun]) -> dict[int, float]:
    """The factor of each run whose median moved, against the last one before that has the case."""
    moved = {}
    last: tuple[int, Timing] | None = None
    for at, now in enumerate(row):
        if now is None:
            continue
        if last is not None and _setting(runs[at]) == _setting(runs[last[0]]):
            then, ratio = last[1], now.median / last[1].median
            if abs(ratio - 1) >= MATTERS and (now.q1 > then.q3 or now.q3 < then.q1):
                moved[at] = ratio
        last = at, now
    return moved


def _setting(run: SavedRun) -> tuple[object, ...]:
    info = run.machine_info
    return info.device, info.torch, info.threads, info.fingerprint.machine


def _breaks(runs: Sequence[SavedRun]) -> list[str]:
    return [
        f"{_tick(b)}: another machine, PyTorch or number of threads than the run before; nothing is marked."
        for a, b in pairwise(runs)
        if _setting(a) != _setting(b)
    ]


def _tick(run: SavedRun) -> str:
    return ", ".join(filter(None, (minute_of(run.datetime), run.commit_info.id[:7])))


def _cell(timing: Timing | None, factor: float, moved: float | None) -> str:
    sign = "" if moved is None else " ▲" if moved > 1 else " ▼"
    return digits(timing.median / factor if timing else None) + sign
