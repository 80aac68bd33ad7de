"""Text files of captured motion: read whole, bounded, and quoted in messages."""

import codecs
import gzip
import re
import zlib
from pathlib import Path

from ..errors import FileError


def read_text(path: Path, max_mib: int, remedy: str) -> bytes:
    """Read a text file, plain or .gz, without what editors put before it and DOS after it.

    Raises FileError for a missing or damaged one, and for one of more than `max_mib` MiB with the given remedy.
    """
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
            data = file.read((max_mib << 20) + 1)
    except FileNotFoundError:
        raise FileError(f"{path.name}: no such file in {path.parent}; check the folder's name.") from None
    except (OSError, EOFError, zlib.error) as error:
        raise FileError(f"{path.name}: cannot be read ({error}); get a whole copy of it.") from None
    if len(data) > max_mib << 20:
        raise FileError(f"{path.name}: more than {max_mib} MiB of text, {remedy}.")
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise FileError(f"{path.name}: is UTF-16 text; save it as plain text (UTF-8).")
    return data.removeprefix(codecs.BOM_UTF8).rstrip(b"\x1a\r\n\t ")


def decimal_comma(word: str | bytes) -> bool:
    """Whether a word is a number with a decimal comma."""
    text = word.decode("ascii", "replace") if isinstance(word, bytes) else word
    return re.fullmatch(r"[+-]?\d*,\d+(e[+-]?\d+)?", text, re.IGNORECASE) is not None


def quoted(word: str | bytes) -> str:
    """A word of a file as a message shows it: printable, short, in quotes."""
    text = word.decode("ascii", "replace") if isinstance(word, bytes) else word
    text = "".join(c if c.isprintable() else "?" for c in text)
    return f'"{text}"' if len(text) <= 24 else f'"{text[:21]}..."'
