"""What a page is made of: sections of answers, each a sentence with charts and their tables."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from .documents import Document
from .numbers import UNKNOWN

CELL = re.compile(rf"[-+]?[\d.]+(e[-+]\d+)?(\s?[%×])?|{UNKNOWN}|")


@dataclass(frozen=True)
class Table:
    """A table of text cells; the first cell of a row names the row."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    @property
    def numeric(self) -> list[bool]:
        """For each column, whether it holds numbers."""
        return [all(CELL.fullmatch(row[at]) for row in self.rows) for at in range(len(self.columns))]


@dataclass(frozen=True)
class Figure:
    """A chart, where there is anything to draw, and the table of all of its numbers."""

    chart: Markup | None
    table: Table


@dataclass(frozen=True)
class Answer:
    """What one document says to a section's question."""

    sentence: str
    figures: Sequence[Figure]
    notes: Sequence[str] = ()
    word: str = ""  # of a verdict, before the sentence


@dataclass(frozen=True)
class Section:
    """A question with its answers, each with its source."""

    name: str
    title: str
    answers: Sequence[tuple[Answer, str]]


def source_of(document: Document) -> str:
    """Which file, on which machine, with what, when."""
    machine = document.content.machine
    parts = [
        document.name,
        *filter(None, (machine.name, machine.device)),
        *([f"PyTorch {machine.torch}"] if machine.torch else []),
        *([f"{machine.threads} threads"] if machine.threads else []),
        *([minute_of(machine.when)] if machine.when else []),
    ]
    return ", ".join(dict.fromkeys(parts))


def minute_of(stamp: str) -> str:
    """The day and the minute of an ISO time."""
    return stamp[:16].replace("T", " ")
