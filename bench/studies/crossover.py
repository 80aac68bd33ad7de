"""From which layer size and how many rows on does a lower precision pay on this machine?

`python -m bench.studies.crossover` multiplies rows by a layer, each precision alternating with float32, and prints a
map of speed-ups. With `--out FILE.json` every cell is saved as soon as it is measured, and the same command continues
where it was stopped. A cell takes about `--seconds`; one in which not even a few pairs fit is "too slow", and so are
all larger ones.
"""

import argparse
import json
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from humor import Precision
from humor.precision.presets import PRESETS

from ..bench_linear import linear
from ..cases import DIRECTIONS
from ..harness.environment.devices import choose_device
from ..harness.environment.fingerprint_probe import describe_machine
from ..harness.output.files import write_json
from ..harness.stats.precision_verdict import DOES_NOT_PAY, PAYS, UNCLEAR, WORDS, speedup_interval
from ..harness.stats.verdict import Rule
from ..harness.timing.clock import cpu_time_clock
from ..harness.timing.pairing import PAIRS, Pair, Timed, TimedCall, compare
from ..harness.timing.quiet import quiet
from .command import StudyParser

SIZES = [256, 512, 1024, 2048, 4096, 8192]
ROWS = [8, 32, 128, 512, 2048, 8192]
TABLES = ("verdict", "speedup", "low", "high")  # each [size][row]; null: not measured
TOO_SLOW = "too slow"
LEGEND = "float32's time over the precision's own; ? unclear, - too slow to measure, . not measured yet"
STYLES = {PAYS: "green", DOES_NOT_PAY: "red", UNCLEAR: "yellow"}
CALLS = 2 * 2 * (1 + PAIRS)  # of a round that has time: two blocks of two versions, warmed up once where calls are long
Cell = tuple[str, int, int]  # a precision, and where its size and rows stand in their lists


def main(arguments: list[str] | None = None) -> None:
    """Measure what is not measured yet, and print."""
    options = parsed(arguments)
    device = choose_device(options.device, require_cuda=False)
    found = Map.begun(options, device)
    console = Console(width=160)
    todo = [cell for cell in found.cells() if found.at("verdict", cell) is None]
    rule = Rule(error_rate=0.05, cases=max(len(list(found.cells())), 1))
    with quiet(options.threads):
        try:
            for cell in track(todo, "cells", console=console, disable=not console.is_terminal):
                found.put(cell, measured(found, cell, rule, device, options))
                found.write(options.out)
        except KeyboardInterrupt:
            again = "the same command goes on" if options.out else "--out FILE.json would keep what is measured"
            console.print(f"stopped: {again}.")
    machine = found.content["machine"]
    where = f"{machine['name']}, {machine['device']}, {machine['threads']} threads, PyTorch {machine['torch']}"
    console.print(f"{where}; {LEGEND}")
    for precision in found.content["precisions"]:
        console.print(found.table(precision))
    if options.picture:
        found.draw(options.picture)


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    """The options."""
    parser = StudyParser("crossover", __doc__)
    parser.add_argument(
        "--sizes",
        type=int,
        nargs="+",
        metavar="N",
        default=SIZES,
        help="inputs and outputs of the layer",
    )
    parser.add_argument(
        "--rows",
        type=int,
        nargs="+",
        metavar="N",
        default=ROWS,
        help="of the layer's input",
    )
    parser.add_argument(
        "--precisions",
        nargs="+",
        choices=[name for name in PRESETS if name != "fp32"],
        help="without it, those that the device has",
    )
    parser.add_argument("--direction", choices=DIRECTIONS, default=DIRECTIONS[0], help="of the pass")
    parser.add_argument(
        "--device",
        default="cuda" if torch.cuda.is_available() else "cpu",
        help="cpu, cuda or cuda:N",
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="PyTorch threads")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each cell, about")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="keep the map here, and go on from it")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw it, as .svg or .png")
    options = parser.parse_args(arguments)
    if min(*options.sizes, *options.rows, options.threads, options.seconds) <= 0:
        parser.error("--sizes, --rows, --threads and --seconds are numbers above 0.")
    options.sizes, options.rows = sorted(set(options.sizes)), sorted(set(options.rows))
    if options.precisions is None:
        options.precisions = [name for name in PRESETS if name != "fp32" and Precision(name).supports(options.device)]
    return options


@dataclass
class Map:
    """The document as it grows."""

    content: dict[str, Any]

    @classmethod
    def begun(cls, options: argparse.Namespace, device: torch.device) -> "Map":
        """What the file holds, or an empty map. Exits with a sentence where the file holds another."""
        settings = {name: getattr(options, name) for name in ("sizes", "rows", "direction")}
        empty = [[None] * len(options.rows) for _ in options.sizes]
        tables = {name: {table: [[*row] for row in empty] for table in TABLES} for name in options.precisions}
        machine = describe_machine(str(device), options.threads)
        new = {"kind": "crossover", "machine": machine, **settings, "precisions": tables}
        if options.out is None or not options.out.exists():
            return cls(new)
        try:
            old = json.loads(options.out.read_text())
            differ = [name for name in ("kind", *settings) if old[name] != new[name]]
            differ += [name for name in machine if name != "when" and old["machine"][name] != machine[name]]
            differ += [] if old["precisions"].keys() == tables.keys() else ["precisions"]
        except (OSError, ValueError, KeyError, TypeError):
            differ = ["format"]
        if differ:
            raise SystemExit(f"{options.out}: a map of another {', '.join(differ)}; name another --out, or delete it.")
        return cls(old)

    def cells(self) -> Iterator[Cell]:
        """All of them, small ones first, so that the slow are known by smaller ones."""
        for size in range(len(self.content["sizes"])):
            for row in range(len(self.content["rows"])):
                yield from ((precision, size, row) for precision in self.content["precisions"])

    def at(self, table: str, cell: Cell) -> Any:
        """What a table holds for a cell."""
        precision, size, row = cell
        return self.content["precisions"][precision][table][size][row]

    def put(self, cell: Cell, values: dict[str, Any]) -> None:
        """Take up what was measured."""
        precision, size, row = cell
        for table, value in values.items():
            self.content["precisions"][precision][table][size][row] = value

    def is_hopeless(self, cell: Cell) -> bool:
        """Whether a smaller cell was too slow."""
        precision, size, row = cell
        smaller = [(precision, size - 1, row)] * (size > 0) + [(precision, size, row - 1)] * (row > 0)
        return any(self.at("verdict", each) == TOO_SLOW for each in smaller)

    def write(self, file: Path | None) -> None:
        """Keep it."""
        if file is not None:
            write_json(file, self.content)

    def table(self, precision: str) -> Table:
        """A precision's map."""
        table = Table(title=f"{precision}, {self.content['direction']}", title_justify="left")
        table.add_column("size, rows:", justify="right")
        for rows in self.content["rows"]:
            table.add_column(str(rows), justify="right")
        for size, name in enumerate(self.content["sizes"]):
            cells = [(precision, size, row) for row in range(len(self.content["rows"]))]
            table.add_row(str(name), *(self._shown(cell) for cell in cells))
        return table

    def _shown(self, cell: Cell) -> str:
        word, speedup = self.at("verdict", cell), self.at("speedup", cell)
        if speedup is None:
            return "-" if word == TOO_SLOW else "."
        return f"[{STYLES[word]}]{speedup:.2f}{'?' if word == UNCLEAR else ''}[/]"

    def draw(self, file: Path) -> None:
        """The maps beside each other, red where float32 is faster, blue where it is slower."""
        import matplotlib as mpl
        from matplotlib.figure import Figure

        precisions, sizes, rows = (list(self.content[name]) for name in ("precisions", "sizes", "rows"))
        figure = Figure(figsize=(1 + 4 * len(precisions), 4), layout="constrained")
        axes = figure.subplots(1, len(precisions), squeeze=False, sharey=True)[0]
        for axis, precision in zip(axes, precisions, strict=True):
            table = self.content["precisions"][precision]["speedup"]
            values = [[math.nan if value is None else math.log2(value) for value in row] for row in table]
            image = axis.imshow(values, cmap=mpl.colormaps["RdBu"].with_extremes(bad="lightgrey"), vmin=-3, vmax=3)
            axis.set(title=precision, xlabel="rows", xticks=range(len(rows)), yticks=range(len(sizes)))
            axis.set_xticklabels([str(number) for number in rows])
            axis.set_yticklabels([str(number) for number in sizes])
            for size, row_values in enumerate(table):
                for row, value in enumerate(row_values):
                    axis.text(row, size, "" if value is None else f"{value:.2g}", ha="center", va="center", size=8)
        axes[0].set_ylabel(f"layer size ({self.content['direction']})")
        figure.colorbar(image, ax=list(axes), label="log2 of the speed-up over float32")
        figure.savefig(file)


def measured(found: Map, cell: Cell, rule: Rule, device: torch.device, options: argparse.Namespace) -> dict[str, Any]:
    """A cell's verdict, and its speed-up with its interval."""
    precision, size, row = cell
    if found.is_hopeless(cell):
        return {"verdict": TOO_SLOW}
    shape, clock = (options.sizes[size], options.rows[row]), cpu_time_clock(device, options.threads)

    def built(precision: str) -> Timed:
        forward, both, _ = linear(*shape, precision, device)
        return TimedCall(forward if options.direction == DIRECTIONS[0] else both, clock)

    pair: Pair = (partial(built, "fp32"), partial(built, precision))
    if not fits(pair, options.seconds):
        return {"verdict": TOO_SLOW}
    end = clock() + options.seconds

    def pair_of(turn: int) -> Pair | None:
        return pair if turn == 0 or clock() < end else None

    test = compare(pair_of, rule, math.inf, random.Random(), device=device.type).test
    speedup, low, high = speedup_interval(test.interval)
    return {"verdict": WORDS[test.verdict], "speedup": speedup, "low": low, "high": high}


def fits(pair: Pair, seconds: float) -> bool:
    """Whether a round of pairs takes no longer than that, by one call of each: the second of two where it is short."""
    one_call = sum(min(built.seconds(1), built.seconds(1)) for built in (build() for build in pair)) / 2
    return one_call * CALLS <= seconds


if __name__ == "__main__":
    main()
