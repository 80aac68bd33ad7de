"""Paths, shares and times as they are written on a command line or in a marker."""

import math
from pathlib import Path

import pytest


def file_path(text: str) -> Path | str:
    """A path; an empty text stays one, for the run to be refused: as a path it would be the working folder."""
    return Path(text) if text else text


def percentage(text: str) -> float:
    """A fraction given as 3% or 0.03. Raises UsageError."""
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        share = 0.0
    if not 0 < share < 1:
        raise pytest.UsageError(f'"{text}" is no share between 0 and 100 %; give, say, 3%.')
    return share


def seconds_of(text: str, option: str) -> float:
    """Seconds from an option: 90s, 5min, 1h. Raises UsageError."""
    number = text.rstrip("abcdefghijklmnopqrstuvwxyz ")
    unit = {"": 1.0, "s": 1.0, "min": 60.0, "h": 3600.0}.get(text[len(number) :].strip(), 0.0)
    try:
        seconds = float(number) * unit
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < math.inf:
        raise pytest.UsageError(f'{option} "{text}" is no time; give, say, 90s, 5min or 1h.')
    return seconds


def duration(seconds: float) -> str:
    """Seconds, as a person would say them and `seconds_of` takes them."""
    if seconds < 99.5:
        return f"{seconds:.0f}s"
    return f"{seconds / 60:.0f}min" if seconds < 99.5 * 60 else f"{seconds / 3600:.1f}h"
