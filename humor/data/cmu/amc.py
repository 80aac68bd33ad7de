"""Read Acclaim motion files (.amc)."""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from ...errors import FileError, MotionError
from ..source_motion import SourceMotion
from ..text_files import decimal_comma, quoted
from .asf import AsfSkeleton, read_lines

MAX_WORD = 32  # characters; numbers and bones' names are shorter, and one long word would widen the whole table
MAX_METRES = 1000.0
MAX_DEGREES = 36000.0
RATE = "SAMPLES-PER-SECOND"


def read_amc(path: Path, skeleton: AsfSkeleton) -> SourceMotion:
    """Read the motion of an .amc file, plain or .gz, in the units of its skeleton.

    Raises FileError for a damaged file and for another skeleton's, MotionError for numbers that no person moves by.
    """
    path = Path(path)
    words, keywords = _words(read_lines(path), path.name)
    degrees = "DEGREES" in keywords or (skeleton.degrees and "RADIANS" not in keywords)
    layout, width = _layout(words, skeleton, path.name)
    table = _table(words, layout, width, path.name)
    numbers = {bone: _floats(table[:, columns], bone, path.name) for bone, columns in layout.items()}
    root = dict(zip(skeleton.root_order, numbers["root"].T, strict=True))
    angles = {**numbers, "root": np.stack([root[f"r{letter}"] for letter in skeleton.dofs[0]], -1)}
    rotations = np.stack(
        [
            _rotations(angles.get(name), dof, axes, degrees, len(table))
            for name, dof, axes in zip(skeleton.names, skeleton.dofs, skeleton.axes, strict=True)
        ],
        1,
    )
    translation = np.stack([root[f"t{letter}"] for letter in "xyz"], -1) * skeleton.metres_per_unit
    translation = translation + skeleton.root_position
    limit = np.radians(MAX_DEGREES) if not degrees else MAX_DEGREES
    if max(np.abs(a).max() for a in angles.values()) > limit or np.abs(translation).max() > MAX_METRES:
        raise MotionError(
            f"{path.name}: an angle over {MAX_DEGREES:g} degrees or a root over {MAX_METRES:g} m away; expected a "
            "person's motion in the units of its skeleton, get a whole copy of it."
        )
    return SourceMotion(translation, rotations, _rate(keywords, path.name))


def _words(lines: list[bytes], name: str) -> tuple[list[bytes], dict[str, str]]:
    """All words of the frames, without comments, and what each keyword says."""
    frames: list[bytes] = []
    keywords: dict[str, str] = {}
    for line in filter(None, map(bytes.strip, lines)):
        if line.startswith(b":"):
            keyword, _, value = line[1:].decode("ascii", "replace").partition(" ")
            keyword = keyword.upper()
            if keyword not in ("FULLY-SPECIFIED", "DEGREES", "RADIANS", RATE):
                raise FileError(
                    f"{name}: keyword {quoted(':' + keyword)} is unknown; remove its line if the numbers do not depend "
                    "on it."
                )
            keywords[keyword] = value.strip()
        elif not line.startswith(b"#"):
            if keywords.get(RATE) == "":  # its number may stand in the next line
                keywords[RATE] = line.decode("ascii", "replace")
            else:
                frames.append(line)
    words = b" ".join(frames).split()
    if not words:
        raise FileError(f"{name}: no frames; expected an Acclaim motion (.amc), get a whole copy of it.")
    longest = max(words, key=len)
    if len(longest) > MAX_WORD:
        raise FileError(f"{name}: {quoted(longest)} is neither a number nor a bone; get a whole copy of it.")
    return words, keywords


def _rate(keywords: Mapping[str, str], name: str) -> float | None:
    """The frames a second that the keywords say, if they do."""
    if RATE not in keywords:
        return None
    try:
        rate = float(keywords[RATE])
    except ValueError:
        rate = math.nan
    if not 1 <= rate <= 1000:
        raise FileError(
            f'{name}: ":{RATE}" is {quoted(keywords[RATE])}; expected a number between 1 and 1000, correct it.'
        )
    return rate


def _layout(words: list[bytes], skeleton: AsfSkeleton, name: str) -> tuple[dict[str, slice], int]:
    """The words of a frame that are each bone's numbers, by the first frame, and how many words a frame has."""
    counts = {bone: len(dof) for bone, dof in zip(skeleton.names, skeleton.dofs, strict=True)}
    counts["root"] = 6
    layout: dict[str, slice] = {}
    at = 1
    while at < len(words) and not words[at].isdigit():
        bone = words[at].decode("ascii", "replace")
        if bone not in counts or bone in layout:
            problem = "appears twice" if bone in layout else f"is no bone of {skeleton.name} (or a number is missing)"
            raise FileError(f"{name}: first frame: {quoted(bone)} {problem}; pair the motion with its own skeleton.")
        layout[bone] = slice(at + 1, at + 1 + counts[bone])
        at += 1 + counts[bone]
    missing = [bone for bone, count in counts.items() if count and bone not in layout]
    if missing:
        raise FileError(
            f"{name}: first frame: no bone {quoted(missing[0])}, which {skeleton.name} has; pair the motion with its "
            "own skeleton."
        )
    return layout, at


def _table(words: list[bytes], layout: dict[str, slice], width: int, name: str) -> np.ndarray:
    """The words as (frames, width), where every frame has the bones of the first one in the same columns."""
    whole = len(words) // width
    table = np.array(words[: whole * width]).reshape(whole, width)
    for bone, columns in layout.items():
        wrong = np.flatnonzero(table[:, columns.start - 1] != bone.encode())
        if wrong.size:
            found = quoted(bytes(table[wrong[0], columns.start - 1]))
            raise FileError(
                f"{name}: frame {wrong[0] + 1}: {found} where the first frame has {quoted(bone)}; expected the same "
                "bones in every frame, get a whole copy of it."
            )
    if len(words) != whole * width:
        raise FileError(f"{name}: ends in the middle of frame {whole + 1}; get a whole copy of it.")
    is_number = np.char.isdigit(table[:, 0])
    numbers = table[is_number, 0].astype(np.float64)
    if not is_number.all() or (np.diff(numbers) != 1).any():
        raise FileError(f"{name}: frame numbers do not count up by one; get a whole copy of it.")
    return table


def _floats(words: np.ndarray, bone: str, name: str) -> np.ndarray:
    try:
        numbers = words.astype(np.float64)
    except ValueError:
        if any(map(decimal_comma, words.flat)):
            raise FileError(f"{name}: numbers have decimal commas; write them with points.") from None
        raise FileError(f"{name}: bone {quoted(bone)} has a word among its numbers; get a whole copy of it.") from None
    if not np.isfinite(numbers).all():
        raise MotionError(f"{name}: bone {quoted(bone)} has a number that is not finite; get a whole copy of it.")
    return numbers


def _rotations(angles: np.ndarray | None, dof: str, axes: np.ndarray, degrees: bool, frames: int) -> np.ndarray:
    """Rotations about a bone's axes as matrices in its parent's frame, (frames, 3, 3)."""
    if angles is None or not dof:
        return np.broadcast_to(np.eye(3), (frames, 3, 3))
    return axes @ Rotation.from_euler(dof, angles, degrees=degrees).as_matrix() @ axes.T
