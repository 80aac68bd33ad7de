"""What a page is made of: sections of blocks, each a sentence, charts and their tables."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from .documents import Document, table_of
from .numbers import UNKNOWN

CELL = re.compile(rf"[-+]?[\d.]+(e[-+]\d+)?(\s?[%×])?|{UNKNOWN}|")


@dataclass(frozen=True)
class Table:
    """Numbers as text; the first cell of a row names it."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    @property
    def numeric(self) -> list[bool]:
        """Which columns hold numbers."""
        return [all(CELL.fullmatch(row[at]) for row in self.rows) for at in range(len(self.columns))]


@dataclass(frozen=True)
class Figure:
    """A chart, where there is anything to draw, and the table of all of its numbers."""

    chart: Markup | None
    table: Table


@dataclass(frozen=True)
class Block:
    """What one document says to a section's question."""

    sentence: str
    figures: Sequence[Figure]
    source: str
    notes: Sequence[str] = ()
    word: str = ""  # of a verdict, before the sentence


@dataclass(frozen=True)
class Section:
    """A question with the blocks that answer it."""

    name: str
    title: str
    blocks: Sequence[Block]


def source_of(document: Document) -> str:
    """Which file, on which machine, with what, when."""
    machine = table_of(document.content, "machine") or table_of(document.content, "machine_info")
    parts = [document.name, *(str(machine[name]) for name in ("name", "device") if _is_text(machine.get(name)))]
    if machine.get("torch"):
        parts.append(f"PyTorch {machine['torch']}")
    if machine.get("threads"):
        parts.append(f"{machine['threads']} threads")
    when = machine.get("when") or document.content.get("datetime")
    return ", ".join(dict.fromkeys([*parts, *([when_of(when)] if when else [])]))


def when_of(stamp: object) -> str:
    """The day and the minute of an ISO time."""
    return str(stamp)[:16].replace("T", " ")


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != ""
