"""The command that makes a page of what others measured: report."""

from pathlib import Path
from typing import Annotated

import tyro

from .terminal import console


def report(inputs: Annotated[tuple[Path, ...], tyro.conf.Positional], out: Path = Path("report.html")) -> None:
    """Put measurements, verdicts, predictions and training runs on one page, an HTML file that needs no network.

    Args:
        inputs: JSON files of `humor profile` and `pytest bench`, and folders of `humor train` and `humor study`, in any
            order. Several saved runs are shown as a history.
        out: file to write.
    """
    from ..report import read_document, write_page

    write_page([read_document(path) for path in inputs], out)
    console.print(f"wrote {out}", markup=False)
