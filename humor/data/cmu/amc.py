"""Acclaim motion files (.amc), and where the bones of their skeleton are."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from ...errors import FileError, MotionError
from .asf import AsfSkeleton, quoted, read_lines

MAX_WORD = 32  # a number or a bone's name is shorter; one long word would widen the whole table
MAX_METRES = 1000.0
MAX_DEGREES = 36000.0


@dataclass(frozen=True, eq=False)
class AmcMotion:
    """A motion of an `AsfSkeleton`, y up, before any change of skeleton."""

    root_translation: Float[np.ndarray, "frames 3"]  # metres
    rotations: Float[np.ndarray, "frames bones 3 3"]  # from rest, in the parent's frame; the root's in the world's

    def __len__(self) -> int:
        return len(self.root_translation)


def read_amc(path: Path, skeleton: AsfSkeleton) -> AmcMotion:
    """Motion of an .amc file, plain or .gz, in the order and units of its skeleton."""
    path = Path(path)
    words, degrees = _words(read_lines(path), skeleton.degrees, path.name)
    layout, width = _layout(words, skeleton, path.name)
    table = _table(words, layout, width, path.name)
    numbers = {bone: _floats(table[:, columns], bone, path.name) for bone, columns in layout.items()}
    root = dict(zip(skeleton.root_order, numbers["root"].T, strict=True))
    angles = {**numbers, "root": np.stack([root[f"r{letter}"] for letter in skeleton.dofs[0]], -1)}
    rotations = np.stack(
        [
            _turned(angles.get(name), dof, axes, degrees, len(table))
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
    return AmcMotion(translation, rotations)


def source_rotations(skeleton: AsfSkeleton, motion: AmcMotion) -> Float[np.ndarray, "frames bones 3 3"]:
    """World rotation of every bone from rest to pose, y up."""
    world = motion.rotations.copy()
    for bone, parent in enumerate(skeleton.parents[1:], 1):
        world[:, bone] = world[:, parent] @ motion.rotations[:, bone]
    return world


def source_joints(skeleton: AsfSkeleton, motion: AmcMotion) -> Float[np.ndarray, "frames bones 3"]:
    """Where every bone ends (the root: where it is), metres, y up."""
    along = (skeleton.directions * skeleton.lengths[:, None])[..., None]
    joints = (source_rotations(skeleton, motion) @ along)[..., 0]
    joints[:, 0] = motion.root_translation
    for bone, parent in enumerate(skeleton.parents[1:], 1):
        joints[:, bone] += joints[:, parent]
    return joints


def _words(lines: list[bytes], degrees: bool, name: str) -> tuple[list[bytes], bool]:
    """All words of the frames, and whether angles are degrees; comments and keywords left out."""
    frames = []
    for line in lines:
        line = line.strip()
        if line.startswith(b":"):
            keyword = line[1:8].upper()
            degrees = keyword == b"DEGREES" or (degrees and keyword != b"RADIANS")
        elif not line.startswith(b"#"):
            frames.append(line)
    words = b" ".join(frames).split()
    if not words:
        raise FileError(f"{name}: no frames; expected an Acclaim motion (.amc), get a whole copy of it.")
    longest = max(words, key=len)
    if len(longest) > MAX_WORD:
        raise FileError(f"{name}: {quoted(longest)} is neither a number nor a bone; get a whole copy of it.")
    return words, degrees


def _layout(words: list[bytes], skeleton: AsfSkeleton, name: str) -> tuple[dict[str, slice], int]:
    """Which words of the first frame are each bone's numbers, and how many words a frame has."""
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
    """The words as (T, width), every frame with the first one's bones in the first one's places."""
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
    counted = np.char.isdigit(table[:, 0])
    numbers = table[counted, 0].astype(np.float64)
    if not counted.all() or (np.diff(numbers) != 1).any():
        raise FileError(f"{name}: frame numbers do not count up by one; get a whole copy of it.")
    return table


def _floats(words: np.ndarray, bone: str, name: str) -> np.ndarray:
    try:
        numbers = words.astype(np.float64)
    except ValueError:
        raise FileError(f"{name}: bone {quoted(bone)} has a word among its numbers; get a whole copy of it.") from None
    if not np.isfinite(numbers).all():
        raise MotionError(f"{name}: bone {quoted(bone)} has a number that is not finite; get a whole copy of it.")
    return numbers


def _turned(angles: np.ndarray | None, dof: str, axes: np.ndarray, degrees: bool, frames: int) -> np.ndarray:
    """Turns about a bone's own axes as matrices in its parent's frame, (T, 3, 3)."""
    if angles is None or not dof:
        return np.broadcast_to(np.eye(3), (frames, 3, 3))
    return axes @ Rotation.from_euler(dof, angles, degrees=degrees).as_matrix() @ axes.T
