"""Read Biovision motion files (.bvh): the joints as the file has them, in its own units and axes."""

import math
import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from ...errors import FileError, MotionError
from ..text_files import decimal_comma, quoted, read_text

MAX_MIB = 128  # unpacked; half an hour of thirty joints at 60 frames a second
MAX_HEADER = 2**20  # bytes of the hierarchy
MAX_JOINTS = 1024  # with fingers and faces they are some hundred
MAX_NUMBER = 1e6
CHANNELS = {f"{axis}{what}": (what, axis.lower()) for axis in "XYZ" for what in ("position", "rotation")}
# Rates that a frame time, which has few digits, may stand for; of equally near ones the first is taken.
RATES = (30, 60, 120, 24, 25, 50, 100, 240, 48, 72, 90, 150, 180, 200, 250, 300, 480, 500, 1000,
         30 / 1.001, 60 / 1.001, 24 / 1.001)  # fmt: skip
_MOTION = re.compile(rb"^[ \t]*MOTION[ \t]*$", re.MULTILINE | re.IGNORECASE)
_FRAMES = re.compile(
    rb"\s*MOTION\s+Frames[ \t]*:[ \t]*(\S+)\s+Frame[ \t]+Time[ \t]*:[ \t]*(\S+)[ \t]*(?:\n|$)", re.IGNORECASE
)


@dataclass(frozen=True, eq=False)
class BvhMotion:
    """A .bvh file: a tree of joints, and each one's channels in every frame. End sites are joints without channels."""

    name: str  # of the file, for messages
    names: tuple[str, ...]  # root first, every parent before its children
    parents: tuple[int, ...]  # parents[0] is -1
    is_end: tuple[bool, ...]  # whether it is an end site
    offsets: Float[np.ndarray, "joints 3"]  # from the parent, file units
    channels: tuple[tuple[str, ...], ...]  # of each joint, in the order of the file: "Xposition", "Zrotation", ...
    values: Float[np.ndarray, "frames channels"]  # file units and degrees
    fps: float

    def __len__(self) -> int:
        return len(self.values)

    def columns(self, joint: int) -> slice:
        """The columns of a joint's channels."""
        first = sum(map(len, self.channels[:joint]))
        return slice(first, first + len(self.channels[joint]))

    def rotations(self, joint: int) -> Float[np.ndarray, "frames 3 3"]:
        """Rotation of a joint in its parent's frame: its channels' rotations from the left to the right."""
        kinds = [CHANNELS[channel] for channel in self.channels[joint]]
        turning = [number for number, (what, _) in enumerate(kinds) if what == "rotation"]
        if not turning:
            return np.broadcast_to(np.eye(3), (len(self), 3, 3))
        order = "".join(kinds[number][1] for number in turning).upper()
        angles = self.values[:, self.columns(joint)][:, turning]
        return np.asarray(Rotation.from_euler(order, angles, degrees=True).as_matrix())

    def places(self, joint: int) -> Float[np.ndarray, "frames 3"]:
        """Position of a joint in its parent's frame.

        Channels of position hold all of it in most files; where they stay near zero they are added to the offset.
        """
        kinds = [CHANNELS[channel] for channel in self.channels[joint]]
        values, place = self.values[:, self.columns(joint)], np.zeros((len(self), 3))
        moving = [number for number, (what, _) in enumerate(kinds) if what == "position"]
        for number in moving:
            place[:, "xyz".index(kinds[number][1])] = values[:, number]
        offset = self.offsets[joint]
        is_added = joint > 0 and np.linalg.norm(place, axis=-1).max() < 0.1 * np.linalg.norm(offset)
        return place + offset if is_added or not moving else place


def read_bvh(path: Path) -> BvhMotion:
    """Read a .bvh file, plain or .gz. Raises FileError for a damaged file, MotionError for numbers that are no motion.

    A rest pose that some converters put before the motion is still there: see `without_rest_pose`.
    """
    path = Path(path)
    # Old Macintosh line ends too, and the other white space that a table of numbers may have.
    text = read_text(path, MAX_MIB, "cut it in two").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    start = _MOTION.search(text)
    if start is None or start.start() > MAX_HEADER:
        raise FileError(
            f'{path.name}: no "MOTION" after a hierarchy of joints; expected a .bvh, get a whole copy of it.'
        )
    words = text[: start.start()].decode("utf-8", "replace").replace("{", " { ").replace("}", " } ").split()
    joints = _Hierarchy(path.name)
    joints.read(words)
    found = _FRAMES.match(text, start.start())
    if found is None:
        raise FileError(f'{path.name}: no "Frames:" and "Frame Time:" after "MOTION"; get a whole copy of it.')
    count, fps = _count(found[1], path.name), _rate(found[2], path.name)
    values = _table(text[found.end() :], count, sum(map(len, joints.channels)), path.name)
    return BvhMotion(
        name=path.name,
        names=tuple(joints.names),
        parents=tuple(joints.parents),
        is_end=tuple(joints.is_end),
        offsets=np.array(joints.offsets, dtype=np.float64),
        channels=tuple(joints.channels),
        values=values,
        fps=fps,
    )


def without_rest_pose(motion: BvhMotion) -> tuple[BvhMotion, bool]:
    """The motion without a first frame that is a rest pose of the converter's, and whether there was one.

    There most of the angles that move are zero, and in the next frame they are not.
    """
    turning = [CHANNELS[channel][0] == "rotation" for own in motion.channels for channel in own]
    angles = motion.values[:, turning]
    angles = angles[:, np.ptp(angles[1:], axis=0) > 0.01] if len(angles) > 2 else angles[:, :0]
    if angles.shape[1] < 6:
        return motion, False
    at_zero = (np.abs(angles[:2]) < 0.01).mean(1)
    jump = np.abs(np.angle(np.exp(1j * np.radians(angles[1] - angles[0])), deg=True)).mean()
    if at_zero[0] < 0.6 or at_zero[1] > 0.3 or jump < 2:
        return motion, False
    return BvhMotion(**{**vars(motion), "values": motion.values[1:]}), True


class _Hierarchy:
    """The joints of a file, built up word by word."""

    def __init__(self, name: str) -> None:
        self.file = name
        self.names: list[str] = []
        self.parents: list[int] = []
        self.offsets: list[tuple[float, ...] | None] = []
        self.channels: list[tuple[str, ...]] = []
        self.is_end: list[bool] = []
        self.open: list[int] = []  # the joints whose braces are open

    @property
    def where(self) -> str:
        """The place of what is read, for messages."""
        return f"{self.file}: joint {quoted(self.names[self.open[-1]])}" if self.open else f"{self.file}: hierarchy"

    def read(self, words: list[str]) -> None:
        """Read all words. Raises FileError."""
        if not words or words[0].upper() != "HIERARCHY":
            found = quoted(words[0]) if words else "nothing"
            raise FileError(
                f'{self.file}: begins with {found}; expected "HIERARCHY" of a .bvh, get a whole copy of it.'
            )
        at = 1
        while at < len(words):
            word = words[at].upper()
            if word in ("ROOT", "JOINT", "END"):
                at = self._enter(words, at)
            elif word == "OFFSET" and self.open:
                self.offsets[self.open[-1]] = _numbers(words[at + 1 : at + 4], f"{self.where}: OFFSET")
                at += 4
            elif word == "CHANNELS" and self.open:
                self.channels[self.open[-1]] = _channels(words[at + 1 : at + 8], self.where)
                at += 2 + len(self.channels[self.open[-1]])
            elif word == "}" and self.open:
                if self.offsets[self.open[-1]] is None:
                    raise FileError(f"{self.where}: no OFFSET; get a whole copy of it.")
                self.open.pop()
                at += 1
            else:
                raise FileError(f"{self.where}: {quoted(words[at])} out of place; get a whole copy of it.")
        if self.open or not self.names:
            raise FileError(f"{self.file}: the hierarchy ends early; get a whole copy of it.")

    def _enter(self, words: list[str], at: int) -> int:
        """Begin the joint at a word; where its first line is."""
        word = words[at].upper()
        brace = next((k for k in range(at + 1, min(at + 40, len(words))) if words[k] == "{"), None)
        is_first = not self.names
        if brace is None or (word == "ROOT") != is_first or (not is_first and not self.open):
            raise FileError(f"{self.where}: {quoted(words[at])} out of place; expected one ROOT with all joints in it.")
        is_end = word == "END"
        self.names.append(self.names[self.open[-1]] + " end" if is_end else " ".join(words[at + 1 : brace]))
        self.parents.append(self.open[-1] if self.open else -1)
        self.offsets.append(None)
        self.channels.append(())
        self.is_end.append(is_end)
        self.open.append(len(self.names) - 1)
        if len(self.names) > MAX_JOINTS:
            raise FileError(f"{self.file}: more than {MAX_JOINTS} joints; expected one person's skeleton, remove it.")
        return brace + 1


def _channels(words: list[str], where: str) -> tuple[str, ...]:
    """The names of a joint's channels, after how many they are."""
    count = int(words[0]) if words and words[0].isascii() and words[0].isdigit() and len(words[0]) < 3 else -1
    channels = tuple(word.capitalize() for word in words[1 : 1 + max(count, 0)])
    if count not in range(7) or len(channels) != count or len({*channels} & CHANNELS.keys()) != count:
        raise FileError(
            f"{where}: CHANNELS {quoted(' '.join(words[: 1 + max(count, 0)]))}; expected how many, up to 6, and their "
            "names, as Xposition or Zrotation, each at most once, correct it."
        )
    return channels


def _numbers(words: Iterable[str], where: str) -> tuple[float, ...]:
    words = list(words)
    try:
        values = tuple(map(float, words))
    except ValueError:
        values = ()
    if len(values) != 3 or not all(abs(value) <= MAX_NUMBER for value in values):
        found = quoted(" ".join(words))
        if any(map(decimal_comma, words)):
            raise FileError(f"{where} {found} has decimal commas; write numbers with points.")
        raise FileError(f"{where} {found}; expected three numbers up to {MAX_NUMBER:g}, correct it.")
    return values


def _count(word: bytes, name: str) -> int:
    if not word.isdigit() or len(word) > 9 or int(word) < 1:
        raise FileError(f'{name}: "Frames:" is {quoted(word)}; expected how many frames follow, correct it.')
    return int(word)


def _rate(word: bytes, name: str) -> float:
    """Frames a second by the time of one: the usual rate that it may stand for, as far as its digits tell."""
    try:
        time = float(word)
    except ValueError:
        time = math.nan
    if not 1e-3 <= time <= 1:
        comma = "write it with a point" if decimal_comma(word) else "correct it"
        raise FileError(f'{name}: "Frame Time:" is {quoted(word)}; expected seconds, 0.001 to 1, {comma}.')
    digits = 12 if b"e" in word.lower() else len(word.partition(b".")[2])
    error = 10.0 ** -min(digits, 12)  # rounded or cut off
    usual = [float(rate) for rate in RATES if abs(1 / rate - time) <= error and abs(time * rate - 1) < 0.05]
    return min(usual, key=lambda rate: round(abs(time * rate - 1), 2), default=1 / time)


def _table(text: bytes, count: int, width: int, name: str) -> np.ndarray:
    """The numbers of the frames, (count, width)."""
    if not width:
        raise FileError(f"{name}: no joint has CHANNELS; expected a motion, get a whole copy of it.")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            numbers = np.fromstring(text.decode("ascii"), dtype=np.float64, sep=" ")
        except (ValueError, DeprecationWarning, UnicodeDecodeError):
            raise FileError(_wrong_word(text, name)) from None
    if len(numbers) != count * width:
        raise FileError(
            f"{name}: {len(numbers)} numbers; expected {count} frames of {width} each, as its head says, get a whole "
            "copy of it."
        )
    if not (np.abs(numbers) <= MAX_NUMBER).all():
        frame = int(np.flatnonzero(~(np.abs(numbers) <= MAX_NUMBER))[0]) // width + 1
        raise MotionError(
            f"{name}: frame {frame}: a number that is not finite or over {MAX_NUMBER:g}; cut those frames out."
        )
    return numbers.reshape(count, width)


def _wrong_word(text: bytes, name: str) -> str:
    """A sentence on the first word that is no number."""
    for number, line in enumerate(text.splitlines(), 1):
        for word in line.split():
            try:
                float(word)
            except ValueError:
                mend = "write numbers with points" if decimal_comma(word) else "get a whole copy of it"
                return f"{name}: line {number} of the frames: {quoted(word)}; expected a number, {mend}."
    return f"{name}: the frames are no plain numbers; get a whole copy of it."
