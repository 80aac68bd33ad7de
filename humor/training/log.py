"""The log of a training run: CSV tables that can be cut back to a checkpoint, and TensorBoard."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ..errors import CheckpointError, FileError
from ..io.files import how_to_mend, remove_unfinished
from ..io.run_tables import read_table
from .phase_timer import PHASES
from .run_folder import RunFolder

Row = tuple[float | int, ...]
Columns = Mapping[str, tuple[str, ...]]  # of each table, by its name


def table_columns(loss_terms: Sequence[str], validation_columns: Sequence[str]) -> Columns:
    """The columns of a run's tables, with those of its task."""
    losses = ("train_loss", "validation_loss", "score")
    return {
        "steps.csv": ("epoch", "step", "loss", *loss_terms, "taken"),
        "epochs.csv": ("epoch", "learning_rate", "teacher_forcing_rate", *losses, *validation_columns),
        "times.csv": ("epoch", "steps", *PHASES),
    }


class CsvTable:
    """A CSV file to append rows to; opened with a size, it is first cut back to that many bytes.

    Raises CheckpointError for a file shorter than its size, FileError where writing fails.
    """

    def __init__(self, path: Path, columns: Sequence[str], size: int | None = None) -> None:
        self.path = path
        with _write_errors(self.path):
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
        """Add rows; numbers have the digits that read back exactly in float32."""
        with _write_errors(self.path):
            self._file.writelines((",".join(map(_text, row)) + "\n").encode() for row in rows)
            self._file.flush()

    def sync(self) -> int:
        """Flush everything to disk. Returns the size in bytes."""
        with _write_errors(self.path):
            self._file.flush()
            os.fsync(self._file.fileno())
            return self._file.tell()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


@contextmanager
def _write_errors(path: Path) -> Iterator[None]:
    """Raise a failing write as FileError."""
    try:
        yield
    except OSError as error:
        raise FileError(
            f"{path}: could not be written ({error.strerror}); {how_to_mend(error)} and run the same command to go on "
            "from the last checkpoint."
        ) from error


class RunLog:
    """The tables and the TensorBoard files of a run's folder."""

    def __init__(self, folder: RunFolder, first_step: int, columns: Columns) -> None:
        from torch.utils.tensorboard import SummaryWriter  # takes a second

        self.out, self.columns = folder.out, columns
        with _write_errors(folder.out):
            folder.out.mkdir(parents=True, exist_ok=True)
        remove_unfinished(folder.out)
        self.tables = {
            name: CsvTable(folder.out / name, names, None if folder.sizes is None else folder.sizes[name])
            for name, names in columns.items()
        }
        self.board = SummaryWriter(str(folder.out / "tensorboard"), purge_step=first_step)

    def losses_of(self, epoch: int) -> list[float]:
        """The losses logged so far in an epoch."""
        table = read_table(self.out / "steps.csv")
        return [loss for at, loss in zip(table["epoch"], table["loss"], strict=True) if at == epoch]

    def steps(self, rows: Sequence[Row], step: int, windows: int, seconds: Mapping[str, float]) -> None:
        """Log rows of steps.csv, up to the run's `step`, of steps of so many windows, and their seconds by phase."""
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
        """Flush everything to disk. Returns the sizes to cut the tables back to."""
        return {name: table.sync() for name, table in self.tables.items()}

    def close(self) -> None:
        """Close every file."""
        self.board.close()
        for table in self.tables.values():
            table.close()

    def _plot(self, step: int, scalars: Mapping[str, float]) -> None:
        with _write_errors(self.out / "tensorboard"):
            for name, value in scalars.items():
                self.board.add_scalar(name, value, step)


def rounded(value: float | int) -> float:
    """A number as a table holds it: exact for float32."""
    return float(f"{value:.9g}")


def _text(value: object) -> str:
    return f"{value:.9g}" if isinstance(value, float) else str(value)
