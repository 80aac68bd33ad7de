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
from time import perf_counter
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
from ..harness.stats.verdict import Rule, SequentialTest
from ..harness.timing.clock import clock_of
from ..harness.timing.gpu_clock import gpu_clock
from ..harness.timing.pairing import PAIRS, Pair, Timed, TimedCall, compare
from ..harness.timing.quiet import quiet
from .command import StudyParser

SIZES = [256, 512, 1024, 2048, 4096, 8192]
ROWS = [8, 32, 128, 512, 2048, 8192]
TABLES = ("verdict", "speedup", "low", "high")  # each [size][row]; null: not measured
TOO_SLOW = "too slow"
LEGEND = "float32's time divided by the precision's; ? unclear, - too slow to measure, . not measured yet"
STYLES = {PAYS: "green", DOES_NOT_PAY: "red", UNCLEAR: "yellow"}
CALLS = 2 * 2 * (1 + PAIRS)  # of one round: two blocks of two versions, and a warm-up of long calls
Cell = tuple[str, int, int]  # a precision, and the indices of its size and rows


def main(arguments: list[str] | None = None) -> None:
    """Measure the cells that are not measured yet, and print the maps."""
    options = parse_options(arguments)
    device = choose_device(options.device, require_cuda=False)
    speedups = SpeedupMap.open(options, device)
    console = Console(width=160)
    missing = [cell for cell in speedups.cells() if speedups.at("verdict", cell) is None]
    rule = Rule(error_rate=0.05, cases=max(len(list(speedups.cells())), 1))
    with quiet(options.threads):
        try:
            for cell in track(missing, "cells", console=console, disable=not console.is_terminal):
                speedups.put(cell, measure_cell(speedups, cell, rule, device, options))
                speedups.write(options.out)
        except KeyboardInterrupt:
            again = "the same command continues" if options.out else "--out FILE.json would save what was measured"
            console.print(f"stopped: {again}.")
    machine = speedups.content["machine"]
    where = f"{machine['name']}, {machine['device']}, {machine['threads']} threads, PyTorch {machine['torch']}"
    console.print(f"{where}; {LEGEND}")
    for precision in speedups.content["precisions"]:
        console.print(speedups.table(precision))
    if options.picture:
        speedups.draw(options.picture)


def parse_options(arguments: list[str] | None) -> argparse.Namespace:
    """The command line's options, with the device's precisions where none are given."""
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
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="save the maps here, and continue from them")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw the maps, as .svg or .png")
    options = parser.parse_args(arguments)
    if min(*options.sizes, *options.rows, options.threads, options.seconds) <= 0:
        parser.error("--sizes, --rows, --threads and --seconds are numbers above 0.")
    options.sizes, options.rows = sorted(set(options.sizes)), sorted(set(options.rows))
    if options.precisions is None:
        options.precisions = [name for name in PRESETS if name != "fp32" and Precision(name).supports(options.device)]
    return options


@dataclass
class SpeedupMap:
    """The JSON document of the maps, filled cell by cell."""

    content: dict[str, Any]

    @classmethod
    def open(cls, options: argparse.Namespace, device: torch.device) -> "SpeedupMap":
        """The map in `--out`, or an empty one. Exits with a sentence where the file holds another map."""
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
        """All cells, small ones first, so that a slow one stops the larger ones."""
        for size in range(len(self.content["sizes"])):
            for row in range(len(self.content["rows"])):
                yield from ((precision, size, row) for precision in self.content["precisions"])

    def at(self, table: str, cell: Cell) -> Any:
        """A table's value for a cell."""
        precision, size, row = cell
        return self.content["precisions"][precision][table][size][row]

    def put(self, cell: Cell, values: dict[str, Any]) -> None:
        """Set a cell's values by table."""
        precision, size, row = cell
        for table, value in values.items():
            self.content["precisions"][precision][table][size][row] = value

    def is_too_slow(self, cell: Cell) -> bool:
        """Whether a smaller cell was too slow."""
        precision, size, row = cell
        smaller = [(precision, size - 1, row)] * (size > 0) + [(precision, size, row - 1)] * (row > 0)
        return any(self.at("verdict", each) == TOO_SLOW for each in smaller)

    def write(self, file: Path | None) -> None:
        """Write the document, if there is a file."""
        if file is not None:
            write_json(file, self.content)

    def table(self, precision: str) -> Table:
        """A precision's map of speed-ups, to print."""
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
        """Draw the maps side by side, red where float32 is faster and blue where it is slower."""
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


def measure_cell(
    speedups: SpeedupMap, cell: Cell, rule: Rule, device: torch.device, options: argparse.Namespace
) -> dict[str, Any]:
    """Measure a cell: its verdict, and the speed-up with its interval."""
    precision, size, row = cell
    if speedups.is_too_slow(cell):
        return {"verdict": TOO_SLOW}
    shape, clock = (options.sizes[size], options.rows[row]), clock_of(device)

    def make_call(precision: str) -> Timed:
        forward, both, _ = linear(*shape, precision, device)
        return TimedCall(forward if options.direction == DIRECTIONS[0] else both, clock)

    pair: Pair = (partial(make_call, "fp32"), partial(make_call, precision))
    if not fits(pair, options.seconds):
        return {"verdict": TOO_SLOW}
    end = perf_counter() + options.seconds

    def pair_of(turn: int) -> Pair | None:
        return pair if turn == 0 or perf_counter() < end else None

    gpu = gpu_clock(device, options.seconds)
    test = compare(pair_of, SequentialTest(rule), math.inf, random.Random(), gpu=gpu).test
    speedup, low, high = speedup_interval(test.interval)
    return {"verdict": WORDS[test.verdict], "speedup": speedup, "low": low, "high": high}


def fits(pair: Pair, seconds: float) -> bool:
    """Whether a round of pairs fits into so many seconds, by the faster of two calls of each version."""
    one_call = sum(min(call.seconds(1), call.seconds(1)) for call in (make() for make in pair)) / 2
    return one_call * CALLS <= seconds


if __name__ == "__main__":
    main()
