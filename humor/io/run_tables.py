"""The tables that training runs leave in their folders, read back as curves and times."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

STUDY_PLAN = "study.json"  # in the folder of a study: its settings, "precisions" and "seeds" among them
EPOCHS_TABLE, TIMES_TABLE = "epochs.csv", "times.csv"
_NO_PHASES = ("epoch", "steps")  # columns of times.csv; all others are seconds of a phase


@dataclass(frozen=True, eq=False)
class RunCurves:
    """Loss curves of each precision (or of one run), shape (seeds, epochs), and mean seconds of an epoch by phase."""

    precisions: tuple[str, ...]
    train: Mapping[str, np.ndarray]
    validation: Mapping[str, np.ndarray]  # NaN for an epoch without validation
    seconds: Mapping[str, Mapping[str, float]]


def study_run_name(precision: str, seed: int) -> str:
    """The folder of a study's run."""
    return f"{precision}-seed{seed}"


def epochs_finished(run: Path) -> int:
    """How many epochs a run's folder has in its table; 0 where there is no table."""
    table = run / EPOCHS_TABLE
    return len(read_table(table)["epoch"]) if table.is_file() else 0


def read_runs(runs: Mapping[str, Sequence[Path]], epochs: int | None = None) -> RunCurves:
    """Curves and times of the folders of each precision, over so many epochs, or over those that all of them have."""
    tables = {name: [read_table(folder / EPOCHS_TABLE) for folder in folders] for name, folders in runs.items()}
    epochs = epochs or min(len(table["epoch"]) for seeds in tables.values() for table in seeds)
    train, validation = (
        {name: np.array([table[curve][:epochs] for table in seeds]) for name, seeds in tables.items()}
        for curve in ("train_loss", "validation_loss")
    )
    seconds = {name: _mean_seconds([folder / TIMES_TABLE for folder in folders]) for name, folders in runs.items()}
    return RunCurves(tuple(runs), train, validation, seconds)


def read_table(path: Path) -> dict[str, list[float]]:
    """The columns of a CSV file of numbers, by name."""
    with path.open() as file:
        names = file.readline().strip().split(",")
        rows = [[float(value) for value in line.split(",")] for line in file]
    return {name: [row[index] for row in rows] for index, name in enumerate(names)}


def _mean_seconds(paths: Sequence[Path]) -> dict[str, float]:
    """Mean seconds by phase over the epochs that were timed whole, a run's first left out where it has others."""
    tables = [read_table(path) for path in paths]
    phases = [name for name in tables[0] if name not in _NO_PHASES]
    rows = []
    for table in tables:
        whole = max(table["steps"], default=0.0)
        numbers = [at for at, steps in enumerate(table["steps"]) if steps == whole]
        rows += [[table[phase][at] for phase in phases] for at in numbers[1:] or numbers]
    return dict(zip(phases, np.mean(rows, 0).tolist(), strict=True))
