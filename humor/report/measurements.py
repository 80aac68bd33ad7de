"""Answers from what was measured once: phases, linear layers, memory, crossover, roofline."""

from collections.abc import Sequence

from .document_types import Crossover, Profile, ProfiledLinear, ProfiledRun, Roofline, RooflinePoint, SpeedupGrid
from .layout import Answer, Figure, Table
from .numbers import SIZES, TIMES, count, digits, multiple, percent, scaled, unit_of, whole
from .row_charts import bars
from .schema import Number
from .style import Point
from .xy_charts import heat_map, roofline_chart

PARTS = ("casts", "launch", "kernel")


def phases(profile: Profile, name: str) -> Answer | None:
    """Where the step goes: phases of each width and precision, on the host and on the device."""
    runs = profile.runs
    if not runs:
        return None
    names = list(dict.fromkeys(phase for run in runs for phase in run.phases))
    factor, unit = unit_of((run.step for run in runs), TIMES)
    rows, cells = [], []
    for run in runs:
        for where, suffix in (("host", ""), ("device", " on the device"), ("first", ", first step")):
            times = [getattr(run.phases.get(phase), where, None) for phase in names]
            values = [scaled(time, factor) for time in times]
            known = any(time is not None for time in times)
            label = f"width {whole(run.width)}, {run.precision}{suffix}"
            step = (run.step, run.step_low, run.step_high) if where == "host" else ()
            if known and where != "first":
                rows.append((label, values))
            if known or where == "first":
                step_cells = [digits(scaled(time, factor)) for time in step] or [""] * 3
                cells.append([label, *map(digits, values), *step_cells])
    title = f"Phases of a step of {whole(profile.batch)} windows"
    columns = ("run", *(f"{phase}, {unit}" for phase in names), f"step, {unit}", "low", "high")
    figure = Figure(bars(name, title, unit, rows, names), Table(title, columns, cells))
    return Answer(_phase_sentence(runs, profile.batch), [figure])


def _phase_sentence(runs: Sequence[ProfiledRun], batch: Number) -> str:
    sentences = [
        _width_sentence(timed, batch)
        for width in dict.fromkeys(run.width for run in runs)
        if (timed := [run for run in runs if run.width == width and run.step])
    ]
    return " ".join(sentences) or "No step was timed."


def _width_sentence(runs: Sequence[ProfiledRun], batch: Number) -> str:
    """Of the runs of one width: the largest phase, and the fastest precision if that is clear of the reference."""
    reference = next((run for run in runs if run.precision == "fp32"), runs[0])
    times = {phase: max(time.host or 0, time.device or 0) for phase, time in reference.phases.items()}
    share = "a step"
    if any(times.values()):
        largest = max(times, key=lambda phase: times[phase])
        share = f"{largest} takes {percent(times[largest] / sum(times.values()))} of a step"
    fastest = min(runs, key=_step_seconds)
    slow, fast = _step_seconds(reference), _step_seconds(fastest)
    factor, unit = unit_of([slow], TIMES)
    step = f"of {whole(batch)} windows in {reference.precision} ({digits(slow / factor)} {unit})"
    clear = (fastest.step_high or fast) < (reference.step_low or slow)
    rest = f"{fastest.precision} is {multiple(slow / fast)} as fast" if clear else "no precision is clearly faster"
    return f"At width {whole(reference.width)}, {share} {step}; {rest}."


def _step_seconds(run: ProfiledRun) -> float:
    """Of a run that was timed."""
    assert run.step is not None
    return run.step


def linear_layers(profile: Profile, name: str) -> Answer | None:
    """Where one linear layer's time goes."""
    layers = profile.linear
    if not layers:
        return None
    factor, unit = unit_of((layer.total for layer in layers), TIMES)
    rows = [
        (f"{_size(layer)}, {layer.precision}", [scaled(getattr(layer, part), factor) for part in PARTS])
        for layer in layers
    ]
    title = "Parts of one linear layer"
    cells = [
        [label, *map(digits, times), digits(scaled(layer.total, factor))]
        for (label, times), layer in zip(rows, layers, strict=True)
    ]
    table = Table(title, ("layer", *(f"{part}, {unit}" for part in (*PARTS, "total"))), cells)
    return Answer(_linear_sentence(layers), [Figure(bars(name, title, unit, rows, PARTS), table)])


def _linear_sentence(layers: Sequence[ProfiledLinear]) -> str:
    """Of the largest layer: the fastest precision, and its kernel's share."""
    largest = max(layers, key=lambda layer: layer.size or 0)
    same = [
        (layer.total, layer)
        for layer in layers
        if (layer.size, layer.rows) == (largest.size, largest.rows) and layer.total
    ]
    if not same:
        return f"{count(len(layers), 'layer')} taken apart into casts, launches and kernels."
    total, best = min(same, key=lambda pair: pair[0])
    share = percent((best.kernel or 0) / total)
    return f"At {_size(largest)}, {best.precision} is the fastest; its kernel is {share} of its time."


def _size(layer: ProfiledLinear) -> str:
    size = whole(layer.size)
    return f"{size} × {size}, {whole(layer.rows)} rows"


def memory(profile: Profile, name: str) -> Answer | None:
    """What a step holds at most."""
    peaks = [(f"width {whole(run.width)}, {run.precision}", run.peak_bytes) for run in profile.runs if run.peak_bytes]
    if not peaks:
        return None
    factor, unit = unit_of((peak for _, peak in peaks), SIZES)
    title = "Peak memory of a step"
    table = Table(title, ("run", f"peak, {unit}"), [[label, digits(peak / factor)] for label, peak in peaks])
    most, least = (pick(peaks, key=lambda pair: pair[1]) for pick in (max, min))
    sentence = f"A step holds at most {digits(most[1] / factor)} {unit} ({most[0]})"
    sentence += f", at least {digits(least[1] / factor)} {unit} ({least[0]})." if len(peaks) > 1 else "."
    chart = bars(name, title, unit, [(label, [peak / factor]) for label, peak in peaks], ("peak",))
    return Answer(sentence, [Figure(chart, table)])


def crossover(document: Crossover, name: str) -> Answer | None:
    """From which size a precision pays: a heat map for each."""
    sizes, rows = ([whole(x) for x in axis] for axis in (document.sizes, document.rows))
    figures, sentences = [], []
    for number, (precision, grid) in enumerate(document.precisions.items()):
        cells = _grid_points(precision, grid, sizes, rows)
        title = f"Speed-up of {precision} over fp32"
        flat = [
            (size, row, point)
            for size, line in zip(sizes, cells, strict=True)
            for row, point in zip(rows, line, strict=True)
        ]
        listed = [[f"{s} × {s}", row, *map(multiple, (p.middle, p.low, p.high))] for s, row, p in flat]
        table = Table(title, ("layer", "rows", "speed-up", "low", "high"), listed)
        figures.append(Figure(heat_map(f"{name}-{number}", title, ("size", sizes), ("rows", rows), cells), table))
        faster = [f"{s} × {s} with {row} rows" for s, row, p in flat if p.low is not None and p.low > 1]
        slower = sum(p.high is not None and p.high < 1 for _, _, p in flat)
        first = f", first at {faster[0]}" if faster else ""
        sentences.append(
            f"{precision} is faster at {len(faster)} of {count(len(flat), 'size')}{first}, and slower at {slower}"
        )
    note = "Blue: faster; orange: slower; grey: the interval holds 1."
    return Answer("; ".join(sentences) + ".", figures, [note]) if figures else None


def _grid_points(precision: str, grid: SpeedupGrid, sizes: Sequence[str], rows: Sequence[str]) -> list[list[Point]]:
    """A point for each size and number of rows."""

    def point(size: str, row: str, middle: Number, low: Number, high: Number) -> Point:
        tooltip = f"{size} × {size}, {row} rows: {multiple(middle)} [{multiple(low)}, {multiple(high)}]"
        return Point(precision, middle, low, high, tooltip)

    return [
        [point(size, *values) for values in zip(rows, *line, strict=True)]
        for size, *line in zip(sizes, grid.speedup, grid.low, grid.high, strict=True)
    ]


def roofline(document: Roofline, name: str) -> Answer | None:
    """How near each case comes to what the machine can do."""
    peaks, bandwidth = document.peaks, document.bandwidth
    placed = [(point, at) for point in document.points if (at := _on_roofline(point)) is not None]
    if not placed or not bandwidth or not any(peaks.values()):
        return None
    cases, rows, near = [], [], []
    for number, (point, (intensity, rate)) in enumerate(placed, 1):
        label, peak = f"{point.case}, {point.precision}", peaks.get(point.precision)
        roof = min(peak, intensity * bandwidth) if peak else None
        share = rate / roof if roof else None
        side = "" if not peak else "memory" if intensity * bandwidth < peak else "compute"
        cases.append((point.precision, intensity, rate, f"{number}: {label}, {percent(share)} of its roof"))
        rows.append([str(number), label, digits(intensity), digits(rate / 1e9), percent(share), side])
        near.append((share or 0.0, label, side))
    share, label, _ = max(near)
    bound = f"{sum(side == 'memory' for *_, side in near)} of {count(len(near), 'case')}"
    sentence = f"Nearest to its roof is {label}, at {percent(share)}; memory is the roof of {bound}."
    title = "Roofline"
    table = Table(title, ("no.", "case", "FLOP/byte", "GFLOP/s", "of its roof", "roof"), rows)
    roofs = ", ".join(f"{precision} {digits(peak / 1e12)}" for precision, peak in peaks.items() if peak)
    note = f"Roofs: {digits(bandwidth / 1e9)} GB/s of memory; TFLOP/s: {roofs}."
    return Answer(sentence, [Figure(roofline_chart(name, title, peaks, bandwidth, cases), table)], [note])


def _on_roofline(point: RooflinePoint) -> tuple[float, float] | None:
    """FLOP a byte and FLOP a second; None where a number is not known."""
    flops, size, seconds = (max(x or 0, 0) for x in (point.flops, point.bytes, point.seconds))
    return (flops / size, flops / seconds) if flops and size and seconds else None
