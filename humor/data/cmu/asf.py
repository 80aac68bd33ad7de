"""Read Acclaim skeleton files (.asf): the bones that an .amc motion moves."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from ...errors import FileError
from ..source_motion import SourceSkeleton
from ..text_files import decimal_comma, quoted, read_text

INCH = 0.0254  # metres; a length in an .asf or .amc is inches times the file's length unit
MAX_MIB = 32  # unpacked; a motion of over five minutes at 120 frames a second
MAX_BONES = 256
MAX_BONE_METRES = 10.0
# What the lines of a section may begin with.
KEYWORDS = {
    "units": ("mass", "length", "angle"),
    "root": ("order", "axis", "position", "orientation"),
    "bonedata": ("id", "name", "direction", "length", "axis", "dof", "limits", "bodymass", "cofmass"),
}

_Line = tuple[int, list[str]]  # line number, its words


@dataclass(frozen=True, eq=False)
class AsfSkeleton(SourceSkeleton):
    """The skeleton of an .asf file, and how an .amc of it is read."""

    dofs: tuple[str, ...]  # letters of the axes in the order of rotation, fixed axes: "xyz", "xz", ""
    root_order: tuple[str, ...]  # what the root's six numbers are: ("tx", "ty", "tz", "rx", "ry", "rz")
    root_position: Float[np.ndarray, "3"]  # metres
    metres_per_unit: float
    degrees: bool  # whether angles here are in degrees; a motion may say otherwise for its own


def read_asf(path: Path) -> AsfSkeleton:
    """Read an .asf file, plain or .gz, without its limits of angles. Raises FileError for a damaged one."""
    path = Path(path)
    sections = _sections(read_lines(path), path.name)
    units = _keywords(sections.get("units", []), "units", path.name)
    metres = _metres_per_unit(units, path.name)
    degrees = _is_degrees(units, path.name)
    bones = _bones(sections.get("bonedata", []), path.name)
    order, parents = _tree(sections.get("hierarchy", []), bones.keys(), path.name)
    root_order, root_axis, root_position, root_rotation = _root(
        _keywords(sections.get("root", []), "root", path.name), path.name
    )
    read = [_bone(name, bones[name], metres, degrees, path.name) for name in order[1:]]
    directions, lengths, axes, dofs = zip(*read, strict=True)
    return AsfSkeleton(
        name=path.name,
        names=tuple(order),
        parents=parents,
        directions=np.array([np.zeros(3), *directions]),
        lengths=np.array([0.0, *lengths]),
        axes=np.array([_rotation(root_rotation, root_axis, degrees), *axes]),
        dofs=(root_axis, *dofs),
        root_order=root_order,
        root_position=np.array(root_position) * metres,
        metres_per_unit=metres,
        degrees=degrees,
    )


def read_lines(path: Path) -> list[bytes]:
    """Read the lines of a text file, plain or .gz. Raises FileError for a missing, damaged or too long one."""
    return read_text(path, MAX_MIB, "no CMU file is; remove it").splitlines()


def _sections(lines: Iterable[bytes], name: str) -> dict[str, list[_Line]]:
    """The lines under each ":keyword", without comments."""
    sections: dict[str, list[_Line]] = {}
    current: list[_Line] = []
    for number, line in enumerate(lines, 1):
        words = line.decode("ascii", "replace").split()
        if not words or words[0].startswith("#"):
            continue
        if words[0].startswith(":"):
            current = sections.setdefault(words[0][1:].lower(), [])
            words = words[1:]
        if words:
            current.append((number, words))
    for wanted in ("root", "bonedata", "hierarchy"):
        if wanted not in sections:
            raise FileError(f'{name}: no ":{wanted}" section; expected a skeleton (.asf), get a whole copy of it.')
    return sections


def _keywords(lines: Iterable[_Line], section: str, name: str) -> dict[str, _Line]:
    for number, words in lines:
        _require_known(words[0], section, f"{name}: line {number}")
    return {words[0].lower(): (number, words[1:]) for number, words in lines}


def _require_known(word: str, section: str, where: str) -> None:
    """Raise FileError for a keyword that nothing is known of: it may change the numbers."""
    limits = section == "bonedata" and (word.startswith("(") or word[0].isdigit() or word[0] in "+-")
    if word.lower() not in KEYWORDS[section] and not limits:
        known = ", ".join(KEYWORDS[section])
        raise FileError(
            f'{where}: {quoted(word)} in ":{section}"; expected one of {known}, correct or remove the line.'
        )


def _metres_per_unit(units: dict[str, _Line], name: str) -> float:
    line, words = units.get("length", (0, ["1"]))
    (unit,) = _numbers(words, 1, f'{name}: line {line}: "length" of the units')
    if not 1e-3 <= unit <= 1e3:
        raise FileError(f"{name}: line {line}: length unit {unit:g}; expected 0.45 (CMU) or 1 (inches), correct it.")
    return INCH / unit


def _is_degrees(units: dict[str, _Line], name: str) -> bool:
    line, words = units.get("angle", (0, ["deg"]))
    word = words[0].lower() if words else ""
    if not word.startswith(("deg", "rad")):
        raise FileError(f'{name}: line {line}: angle unit {quoted(word)}; expected "deg" or "rad", correct it.')
    return word.startswith("deg")


def _root(lines: dict[str, _Line], name: str) -> tuple[tuple[str, ...], str, tuple[float, ...], tuple[float, ...]]:
    """Order of the root's numbers, its axis order, its rest position (file units) and orientation (file angle)."""
    line, words = lines.get("order", (0, ["TX", "TY", "TZ", "RX", "RY", "RZ"]))
    order = tuple(word.lower() for word in words)
    if sorted(order) != ["rx", "ry", "rz", "tx", "ty", "tz"]:
        found = quoted(" ".join(words))
        raise FileError(f"{name}: line {line}: root order {found}; expected TX TY TZ RX RY RZ, correct it.")
    line, words = lines.get("axis", (0, ["XYZ"]))
    axis = _axis_order(words[0] if words else "", f"{name}: line {line}: the root")
    values = []
    for keyword in ("position", "orientation"):
        line, words = lines.get(keyword, (0, ["0", "0", "0"]))
        values.append(_numbers(words, 3, f'{name}: line {line}: "{keyword}" of the root'))
    return order, axis, values[0], values[1]


def _bones(lines: Iterable[_Line], name: str) -> dict[str, dict[str, _Line]]:
    """Every bone's keywords, by the bone's name."""
    bones: dict[str, dict[str, _Line]] = {}
    block: dict[str, _Line] | None = None
    for number, words in lines:
        keyword = words[0].lower()
        if keyword == "begin" and block is None:
            block = {}
        elif keyword == "end" and block is not None:
            bone = " ".join(block.get("name", (0, []))[1])
            if not bone or bone == "root" or bone in bones:
                problem = f"a second bone named {quoted(bone)}" if bone else "a bone without a name"
                raise FileError(f"{name}: line {number}: {problem}; every bone needs its own, correct it.")
            for word, (line, _) in block.items():
                _require_known(word, "bonedata", f"{name}: line {line}")
            bones[bone] = block
            block = None
        elif keyword in ("begin", "end") or block is None:
            found = quoted(words[0])
            raise FileError(f'{name}: line {number}: {found} out of place; expected "begin" ... "end", correct it.')
        else:
            block.setdefault(keyword, (number, words[1:]))
        if len(bones) > MAX_BONES:
            raise FileError(f"{name}: more than {MAX_BONES} bones; expected a person's skeleton, about 30, remove it.")
    if block is not None or not bones:
        raise FileError(f'{name}: ":bonedata" ends early or is empty; get a whole copy of it.')
    return bones


def _bone(
    name: str, lines: dict[str, _Line], metres: float, degrees: bool, file: str
) -> tuple[np.ndarray, float, np.ndarray, str]:
    """Direction at rest, length in metres, axes and dof letters of one bone."""
    where = f"{file}: bone {quoted(name)}"
    direction = np.array(_numbers(lines.get("direction", (0, []))[1], 3, f"{where}: direction"))
    (length,) = _numbers(lines.get("length", (0, []))[1], 1, f"{where}: length")
    norm = float(np.linalg.norm(direction))
    if not 0 <= length * metres <= MAX_BONE_METRES or not (norm > 1e-3 or length == 0):
        raise FileError(
            f"{where}: length {length * metres:.3g} m along a direction of length {norm:.3g}; expected 0 to "
            f"{MAX_BONE_METRES:g} m along a unit vector, correct it."
        )
    axis = lines.get("axis", (0, ["0", "0", "0", "XYZ"]))[1]
    order = _axis_order(axis[3] if len(axis) == 4 else "", where)
    dof = "".join(word.lower() for word in lines.get("dof", (0, []))[1])
    letters = dof[1::2]
    if dof[0::2].strip("r") or len(dof) % 2 or len(set(letters)) != len(letters) or not set(letters) <= set("xyz"):
        raise FileError(f"{where}: dof {quoted(dof)}; expected rx ry rz, each at most once, correct it.")
    turn = _rotation(_numbers(axis[:3], 3, f"{where}: axis"), order, degrees)
    return direction / max(norm, 1e-3), length * metres, turn, letters


def _rotation(angles: tuple[float, ...], order: str, degrees: bool) -> np.ndarray:
    """Matrix of rotations about fixed axes, of angles about x, y and z applied in the given order."""
    return Rotation.from_euler(order, [angles["xyz".index(letter)] for letter in order], degrees=degrees).as_matrix()


def _axis_order(word: str, where: str) -> str:
    if sorted(word.lower()) != ["x", "y", "z"]:
        raise FileError(f"{where}: axis order {quoted(word)}; expected three angles and XYZ or the like, correct it.")
    return word.lower()


def _tree(lines: Iterable[_Line], bones: Iterable[str], name: str) -> tuple[list[str], tuple[int, ...]]:
    """Names from the root down and each one's parent; the hierarchy must reach every bone exactly once."""
    children: dict[str, list[str]] = {}
    placed: set[str] = set()
    known = set(bones)
    for number, words in lines:
        if words[0].lower() in ("begin", "end"):
            continue
        for word in words:
            if word not in known and word != "root":
                raise FileError(f'{name}: line {number}: bone {quoted(word)} is not in ":bonedata"; correct it.')
        for child in words[1:]:
            if child in placed or child == "root":
                raise FileError(
                    f"{name}: line {number}: bone {quoted(child)} has two parents; expected one, correct it."
                )
            placed.add(child)
            children.setdefault(words[0], []).append(child)
    order, parents = ["root"], [-1]
    for index, bone in enumerate(order):  # grows while it is walked; every bone is placed once, so this ends
        for child in children.get(bone, []):
            order.append(child)
            parents.append(index)
    lost = sorted(known.difference(order))
    if lost:
        raise FileError(f'{name}: bone {quoted(lost[0])} does not hang from the root in ":hierarchy"; correct it.')
    return order, tuple(parents)


def _numbers(words: list[str], count: int, where: str) -> tuple[float, ...]:
    try:
        values = tuple(float(word) for word in words)
    except ValueError:
        values = ()
    if len(values) != count or not all(math.isfinite(v) and abs(v) < 1e6 for v in values):
        found = quoted(" ".join(words))
        if any(map(decimal_comma, words)):
            raise FileError(f"{where}: {found} has decimal commas; write numbers with points.")
        raise FileError(f"{where}: {found}; expected {count} finite number{'s' * (count > 1)}, correct it.")
    return values
