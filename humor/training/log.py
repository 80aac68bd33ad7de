"""What a training run writes as it goes: tables that can be cut back to a checkpoint, and TensorBoard."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ..errors import CheckpointError, FileError
from ..io.files import remove_unfinished
from ..io.run_tables import read_table
from .phase_timer import PHASES
from .run_folder import Run

Row = tuple[float | int, ...]
TERMS = ("reconstr_weighted_loss", "kl_loss", "joints_loss", "smpl_mesh_loss", "contacts_loss")
Columns = Mapping[str, tuple[str, ...]]  # of each table, by its name
COLUMNS: Columns = {
    "steps.csv": ("epoch", "step", "loss", *TERMS, "taken"),
    "epochs.csv": ("epoch", "learning_rate", "truth_share", "train_loss", "validation_loss", "score"),
    "times.csv": ("epoch", "steps", *PHASES),
}


class Table:
    """A CSV file that grows by rows; opened at a size, it is cut back to that size first."""

    def __init__(self, path: Path, columns: Sequence[str], size: int | None = None) -> None:
        self.path = path
        with _told(self.path):
            if size is None:
                self._file: BinaryIO = path.open("wb")
                self._file.write((",".join(columns) + "\n").encode())
                self._file.flush()
                return
            if not path.is_file() or path.stat().st_size < size:
                raise CheckpointError(
                    f"{path}: shorter than it was at the last checkpoint; bring it back, or use another --out."
                )
            self._file = path.open("r+b")
            self._file.truncate(size)
            self._file.seek(size)

    def append(self, rows: Iterable[Sequence[object]]) -> None:
        """Add rows; numbers as they read back exactly in float32."""
        with _told(self.path):
            self._file.writelines((",".join(map(_text, row)) + "\n").encode() for row in rows)
            self._file.flush()

    def sync(self) -> int:
        """Put everything on disk; returns the size."""
        with _told(self.path):
            self._file.flush()
            os.fsync(self._file.fileno())
            return self._file.tell()

    def close(self) -> None:
        """Close the file; nothing is left to write."""
        self._file.close()


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turn a failing write into a sentence."""
    try:
        yield
    except OSError as error:
        raise FileError(
            f"{path}: could not be written ({error.strerror}); make room and run the same command to go on from the "
            "last checkpoint."
        ) from error


class RunLog:
    """The tables and the TensorBoard of a run's folder."""

    def __init__(self, run: Run, first_step: int, columns: Columns = COLUMNS) -> None:
        from torch.utils.tensorboard import SummaryWriter  # takes a second

        self.out, self.columns = run.out, columns
        with _told(run.out):
            run.out.mkdir(parents=True, exist_ok=True)
        remove_unfinished(run.out)
        self.tables = {
            name: Table(run.out / name, own, None if run.sizes is None else run.sizes[name])
            for name, own in columns.items()
        }
        self.board = SummaryWriter(str(run.out / "tensorboard"), purge_step=first_step)

    def losses_of(self, epoch: int) -> list[float]:
        """The losses logged so far in an epoch."""
        table = read_table(self.out / "steps.csv")
        return [loss for at, loss in zip(table["epoch"], table["loss"], strict=True) if at == epoch]

    def steps(self, rows: Sequence[Row], step: int, windows: int, seconds: Mapping[str, float]) -> None:
        """Log steps of so many windows that took so many seconds by phase; the last was `step` of the run."""
        self.tables["steps.csv"].append(rows)
        whole = sum(seconds.values()) or 1.0
        losses = self.columns["steps.csv"][2:-1]
        scalars = {f"train/{name}": value for name, value in zip(losses, rows[-1][2:-1], strict=True)}
        scalars |= {"speed/windows a second": windows * len(rows) / whole}
        scalars |= {f"share of time/{name}": seconds.get(name, 0.0) / whole for name in PHASES}
        self._plot(step, scalars)

    def epoch(self, row: Row, step: int) -> None:
        """Log an epoch: a row of epochs.csv."""
        self.tables["epochs.csv"].append([row])
        names = self.columns["epochs.csv"]
        self._plot(step, {f"epoch/{name}": value for name, value in zip(names[1:], row[1:], strict=True)})

    def times(self, row: Row) -> None:
        """Log where an epoch's time went: a row of times.csv."""
        self.tables["times.csv"].append([row])

    def sync(self) -> dict[str, int]:
        """Put everything on disk; returns the sizes to cut back to."""
        return {name: table.sync() for name, table in self.tables.items()}

    def close(self) -> None:
        """Close every file."""
        self.board.close()
        for table in self.tables.values():
            table.close()

    def _plot(self, step: int, scalars: Mapping[str, float]) -> None:
        with _told(self.out / "tensorboard"):
            for name, value in scalars.items():
                self.board.add_scalar(name, value, step)


def rounded(value: float | int) -> float:
    """A number as a table holds it: exact for float32."""
    return float(f"{value:.9g}")


def _text(value: object) -> str:
    return f"{value:.9g}" if isinstance(value, float) else str(value)
