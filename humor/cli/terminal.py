"""What the commands print with."""

import csv
import io
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

Row = Mapping[str, str | float]
console = Console(highlight=False, soft_wrap=True)


def print_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], left: Sequence[str] = ("",)
) -> None:
    """Print a table; columns are set right, except those named in `left`."""
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, justify="left" if column in left else "right")
    for row in rows:
        table.add_row(*map(str, row))
    console.print(table, markup=False)


def print_error(message: object) -> None:
    """Print one sentence on standard error."""
    Console(stderr=True, highlight=False, soft_wrap=True).print(f"humor: {message}", markup=False)


def table_csv(rows: Sequence[Row]) -> bytes:
    """The rows as a file with every measure that any of them has."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: f"{v:.9g}" if isinstance(v, float) else v for k, v in row.items()} for row in rows)
    return text.getvalue().encode()
