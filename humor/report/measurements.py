"""The blocks of what was measured once: phases, linear layers, memory, crossover, roofline."""

from collections.abc import Sequence
from typing import Any

from .blocks import Block, Figure, Table, source_of
from .documents import Document
from .numbers import SIZES, TIMES, count, digits, multiple, percent, scaled, unit_of, whole
from .row_charts import bars
from .style import Number, Point
from .xy_charts import heat, roofline

PARTS = ("casts", "launch", "kernel")


def phases(document: Document, name: str) -> Block | None:
    """Where the step goes: phases of each width and precision, on the host and on the device."""
    runs = document.content["runs"]
    if not runs:
        return None
    names = list(dict.fromkeys(phase for run in runs for phase in run["phases"]))
    factor, unit = unit_of((run["step"] for run in runs), TIMES)
    rows, table = [], []
    for run in runs:
        label = f"width {whole(run['width'])}, {run['precision']}"
        for part, more in (("host", ""), ("device", " on the device")):
            times = [(run["phases"].get(phase) or {}).get(part) for phase in names]
            if any(time is not None for time in times):
                values = [scaled(time, factor) for time in times]
                rows.append((label + more, values))
                step = (
                    [digits(scaled(run[key], factor)) for key in ("step", "step_low", "step_high")]
                    if not more
                    else [""] * 3
                )
                table.append([label + more, *map(digits, values), *step])
        first = [scaled((run["phases"].get(phase) or {}).get("first"), factor) for phase in names]
        table.append([f"{label}, first step", *map(digits, first), "", "", ""])
    title = f"Phases of a step of {whole(document.content['batch'])} windows"
    columns = ("run", *(f"{phase}, {unit}" for phase in names), f"step, {unit}", "low", "high")
    figure = Figure(bars(name, title, unit, rows, names), Table(title, columns, table))
    return Block(_phase_sentence(runs, document.content["batch"]), [figure], source_of(document))


def _phase_sentence(runs: Sequence[Any], batch: Number) -> str:
    told = [
        _width_sentence(known, batch)
        for width in dict.fromkeys(run["width"] for run in runs)
        if (known := [run for run in runs if run["width"] == width and run["step"]])
    ]
    return " ".join(told) or "No step was timed."


def _width_sentence(runs: Sequence[Any], batch: Number) -> str:
    """Of the runs of one width: the largest phase, and the fastest precision if that is clear of the reference."""
    reference = next((run for run in runs if run["precision"] == "fp32"), runs[0])
    times = {phase: max(time["host"] or 0, time["device"] or 0) for phase, time in reference["phases"].items()}
    share = "a step"
    if any(times.values()):
        largest = max(times, key=lambda phase: times[phase])
        share = f"{largest} takes {percent(times[largest] / sum(times.values()))} of a step"
    factor, unit = unit_of([reference["step"]], TIMES)
    step = f"of {whole(batch)} windows in {reference['precision']} ({digits(reference['step'] / factor)} {unit})"
    fastest = min(runs, key=lambda run: run["step"])
    times_as = f"{fastest['precision']} is {multiple(reference['step'] / fastest['step'])} as fast"
    clear = (fastest["step_high"] or fastest["step"]) < (reference["step_low"] or reference["step"])
    rest = times_as if clear else "no precision is clearly faster"
    return f"At width {whole(reference['width'])}, {share} {step}; {rest}."


def linear(document: Document, name: str) -> Block | None:
    """Where one linear layer's time goes."""
    layers = document.content["linear"]
    if not layers:
        return None
    factor, unit = unit_of((layer["total"] for layer in layers), TIMES)
    rows = [
        (f"{_size(layer)}, {layer['precision']}", [scaled(layer[part], factor) for part in PARTS]) for layer in layers
    ]
    title = "Parts of one linear layer"
    cells = [
        [label, *map(digits, times), digits(scaled(layer["total"], factor))]
        for (label, times), layer in zip(rows, layers, strict=True)
    ]
    table = Table(title, ("layer", *(f"{part}, {unit}" for part in (*PARTS, "total"))), cells)
    largest = max(layers, key=lambda layer: layer["size"] or 0)
    same = [
        layer
        for layer in layers
        if (layer["size"], layer["rows"]) == (largest["size"], largest["rows"]) and layer["total"]
    ]
    sentence = f"{count(len(layers), 'layer')} taken apart into casts, launches and kernels."
    if same:
        best = min(same, key=lambda layer: layer["total"])
        share = percent((best["kernel"] or 0) / best["total"])
        sentence = f"At {_size(largest)}, {best['precision']} is the fastest; its kernel is {share} of its time."
    return Block(sentence, [Figure(bars(name, title, unit, rows, PARTS), table)], source_of(document))


def _size(layer: Any) -> str:
    size = whole(layer["size"])
    return f"{size} × {size}, {whole(layer['rows'])} rows"


def memory(document: Document, name: str) -> Block | None:
    """What a step holds at most."""
    runs = [run for run in document.content["runs"] if run["peak_bytes"]]
    if not runs:
        return None
    factor, unit = unit_of((run["peak_bytes"] for run in runs), SIZES)
    rows = [(f"width {whole(run['width'])}, {run['precision']}", [run["peak_bytes"] / factor]) for run in runs]
    title = "Peak memory of a step"
    table = Table(title, ("run", f"peak, {unit}"), [[label, digits(size)] for label, (size,) in rows])
    most, least = (pick(rows, key=lambda row: row[1][0]) for pick in (max, min))
    sentence = f"A step holds at most {digits(most[1][0])} {unit} ({most[0]})"
    sentence += f", at least {digits(least[1][0])} {unit} ({least[0]})." if len(rows) > 1 else "."
    return Block(sentence, [Figure(bars(name, title, unit, rows, ("peak",)), table)], source_of(document))


def crossover(document: Document, name: str) -> Block | None:
    """From which size a precision pays: a heat map for each."""
    content = document.content
    sizes, rows = ([whole(x) for x in content[axis]] for axis in ("sizes", "rows"))
    figures, told = [], []
    for number, (precision, parts) in enumerate(content["precisions"].items()):
        cells = [
            [_cell(precision, size, rows[at], *(table[at] for table in line)) for at in range(len(rows))]
            for size, *line in zip(sizes, parts["speedup"], parts["low"], parts["high"], strict=True)
        ]
        title = f"Speed-up of {precision} over fp32"
        flat = [(size, row, point) for size, line in zip(sizes, cells, strict=True)
                for row, point in zip(rows, line, strict=True)]  # fmt: skip
        listed = [[f"{s} × {s}", row, *map(multiple, (p.middle, p.low, p.high))] for s, row, p in flat]
        table = Table(title, ("layer", "rows", "speed-up", "low", "high"), listed)
        figures.append(Figure(heat(f"{name}-{number}", title, ("size", sizes), ("rows", rows), cells), table))
        faster = [f"{s} × {s} with {row} rows" for s, row, p in flat if p.low is not None and p.low > 1]
        slower = sum(p.high is not None and p.high < 1 for _, _, p in flat)
        first = f", first at {faster[0]}" if faster else ""
        told.append(
            f"{precision} is faster at {len(faster)} of {count(len(flat), 'size')}{first}, and slower at {slower}"
        )
    note = "Blue: faster; orange: slower; grey: the interval holds 1."
    return Block("; ".join(told) + ".", figures, source_of(document), [note]) if figures else None


def _cell(precision: str, size: str, rows: str, middle: Number, low: Number, high: Number) -> Point:
    told = f"{size} × {size}, {rows} rows: {multiple(middle)} [{multiple(low)}, {multiple(high)}]"
    return Point(precision, middle, low, high, told)


def roofline_block(document: Document, name: str) -> Block | None:
    """How near each case comes to what the machine can do."""
    content = document.content
    peaks, bandwidth = content["peaks"], content["bandwidth"]
    known = [p for p in content["points"] if all((p[key] or 0) > 0 for key in ("flops", "bytes", "seconds"))]
    if not known or not bandwidth or not any(peaks.values()):
        return None
    cases, rows, near = [], [], []
    for number, point in enumerate(known, 1):
        intensity, rate = point["flops"] / point["bytes"], point["flops"] / point["seconds"]
        label, peak = f"{point['case']}, {point['precision']}", peaks.get(point["precision"])
        roof = min(peak, intensity * bandwidth) if peak else None
        share = rate / roof if roof else None
        side = "" if not peak else "memory" if intensity * bandwidth < peak else "compute"
        cases.append((point["precision"], intensity, rate, f"{number}: {label}, {percent(share)} of its roof"))
        rows.append([str(number), label, digits(intensity), digits(rate / 1e9), percent(share), side])
        near.append((share or 0.0, label, side))
    share, label, _ = max(near)
    bound = f"{sum(side == 'memory' for *_, side in near)} of {count(len(near), 'case')}"
    sentence = f"Nearest to its roof is {label}, at {percent(share)}; memory is the roof of {bound}."
    title = "Roofline"
    table = Table(title, ("no.", "case", "FLOP/byte", "GFLOP/s", "of its roof", "roof"), rows)
    roofs = ", ".join(f"{precision} {digits(peak / 1e12)}" for precision, peak in peaks.items() if peak)
    note = f"Roofs: {digits(bandwidth / 1e9)} GB/s of memory; TFLOP/s: {roofs}."
    return Block(sentence, [Figure(roofline(name, title, peaks, bandwidth, cases), table)], source_of(document), [note])
