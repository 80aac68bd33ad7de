"""One made-up person walking on the spot, written as .bvh files in the layouts of many families of skeletons.

The writer is an obvious twin of the reader: world rotations of a person in T-pose axes become a file's local angles.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

# Metres from the parent in T-pose, y up, facing +z, left on +x; those of a side as on the left.
TRUNK = {
    "hips": ("", (0.3, 0.95, -0.2)), "spine": ("hips", (0, 0.1, -0.01)), "spine1": ("spine", (0, 0.12, 0)),
    "spine2": ("spine1", (0, 0.12, 0)), "neck": ("spine2", (0, 0.2, 0)), "neck1": ("neck", (0, 0.05, 0)),
    "head": ("neck1", (0, 0.06, 0.01)), "head_end": ("head", (0, 0.18, 0)),
}  # fmt: skip
SIDE = {
    "collar": ("spine2", (0.05, 0.15, 0)), "shoulder": ("collar", (0.13, 0, 0)), "roll": ("shoulder", (0.14, 0, 0)),
    "elbow": ("roll", (0.14, 0, 0)), "carpus": ("elbow", (0.2, 0, 0)), "wrist": ("carpus", (0.05, 0, 0)),
    "finger": ("wrist", (0.09, 0, 0.02)),
    "finger_end": ("finger", (0.06, 0, 0)), "stub": ("hips", (0, 0, 0)), "hip": ("stub", (0.09, -0.07, 0)),
    "knee": ("hip", (0, -0.42, 0)), "ankle": ("knee", (0, -0.4, 0)), "toes": ("ankle", (0, -0.07, 0.13)),
    "toes_end": ("toes", (0, 0, 0.07)),
}  # fmt: skip
HINGES = {"left": (0, -1, 0), "right": (0, 1, 0)}  # of the elbows


@dataclass(frozen=True)
class Family:
    """How a family of files writes a person."""

    names: Mapping[str, str]  # role: name, with {} for the side
    sides: tuple[str, str] = ("Left", "Right")
    order: str = "ZXY"  # of rotations
    metres: float = 0.01
    up: str = "y"
    six: bool = False  # channels of position on every joint
    along_x: bool = False  # every bone's own x axis points along it, and a zero pose means nothing
    mirrored: bool = False  # ... on the right side away from it
    line_end: str = "\n"
    indent: str = "\t"
    above: str = ""  # a joint above the hips
    rest_first: bool = False  # a rest pose before the motion
    unit: str = field(default="cm")


_MOTION_BUILDER = {
    "hips": "Hips", "spine": "Spine", "spine1": "Spine1", "spine2": "Spine2", "neck": "Neck", "head": "Head",
    "collar": "{}Shoulder", "shoulder": "{}Arm", "elbow": "{}ForeArm", "wrist": "{}Hand", "hip": "{}UpLeg",
    "knee": "{}Leg", "ankle": "{}Foot", "toes": "{}Toe",
}  # fmt: skip
FAMILIES = {
    "cmu": Family(
        _MOTION_BUILDER | {"spine": "LowerBack", "spine1": "Spine", "spine2": "Spine1", "neck1": "Neck1",
                           "stub": "{}HipJoint", "toes": "{}ToeBase", "carpus": "{}Hand",
                           "wrist": "{}FingerBase", "finger": "{}Fingers"},
        order="ZYX", metres=0.0254 / 0.45, rest_first=True, unit="cmu"),
    "lafan1": Family(_MOTION_BUILDER, order="ZYX", along_x=True),
    "bandai-namco": Family(
        {"hips": "Hips", "spine": "Spine", "spine2": "Chest", "neck": "Neck", "head": "Head", "collar": "Shoulder_{}",
         "shoulder": "UpperArm_{}", "elbow": "LowerArm_{}", "wrist": "Hand_{}", "hip": "UpperLeg_{}",
         "knee": "LowerLeg_{}", "ankle": "Foot_{}", "toes": "Toes_{}"},
        ("L", "R"), six=True, along_x=True, mirrored=True, above="joint_Root"),
    "mixamo": Family(
        {role: "mixamorig:" + name for role, name in (_MOTION_BUILDER | {
            "toes": "{}ToeBase", "toes_end": "{}Toe_End", "head_end": "HeadTop_End",
            "finger": "{}HandIndex1"}).items()},
        order="XYZ", line_end="\r\n"),
    "blender": Family(
        {"hips": "spine", "spine": "spine.001", "spine1": "spine.002", "spine2": "spine.003", "neck": "spine.004",
         "neck1": "spine.005", "head": "spine.006", "collar": "shoulder.{}", "shoulder": "upper_arm.{}",
         "elbow": "forearm.{}", "wrist": "hand.{}", "finger": "f_index.01.{}", "hip": "thigh.{}", "knee": "shin.{}",
         "ankle": "foot.{}", "toes": "toe.{}"},
        ("L", "R"), order="XYZ", metres=1.0, up="z", six=True, indent="  ", unit="m"),
    "biovision": Family(
        {"hips": "Hips", "spine2": "Chest", "neck": "Neck", "head": "Head", "collar": "{}Collar",
         "shoulder": "{}Shoulder", "elbow": "{}Elbow", "wrist": "{}Wrist", "hip": "{}Hip", "knee": "{}Knee",
         "ankle": "{}Ankle"},
        metres=0.0254, unit="in"),
    "poser": Family(
        {"hips": "hip", "spine": "abdomen", "spine2": "chest", "neck": "neck", "head": "head", "collar": "{}Collar",
         "shoulder": "{}Shldr", "elbow": "{}ForeArm", "wrist": "{}Hand", "finger": "{}Thumb1", "stub": "{}Buttock",
         "hip": "{}Thigh", "knee": "{}Shin", "ankle": "{}Foot"},
        ("l", "r"), order="YZX"),
    "biped": Family(
        {role: "Bip01 " + name for role, name in {
            "hips": "Pelvis", "spine": "Spine", "spine2": "Spine1", "neck": "Neck", "head": "Head",
            "collar": "{} Clavicle", "shoulder": "{} UpperArm", "roll": "{} ForeTwist", "elbow": "{} Forearm",
            "wrist": "{} Hand", "finger": "{} Finger0", "hip": "{} Thigh", "knee": "{} Calf", "ankle": "{} Foot",
            "toes": "{} Toe0"}.items()},
        ("L", "R"), order="YXZ", metres=0.001, up="z", along_x=True, above="Bip01", unit="mm"),
    "unreal": Family(
        {"hips": "pelvis", "spine": "spine_01", "spine1": "spine_02", "spine2": "spine_03", "neck": "neck_01",
         "head": "head", "collar": "clavicle_{}", "shoulder": "upperarm_{}", "roll": "upperarm_twist_01_{}",
         "elbow": "lowerarm_{}", "wrist": "hand_{}", "finger": "index_01_{}", "hip": "thigh_{}", "knee": "calf_{}",
         "ankle": "foot_{}", "toes": "ball_{}"},
        ("l", "r"), six=True, along_x=True, mirrored=True, above="root"),
    "smpl": Family(
        {"hips": "Pelvis", "spine": "Spine1", "spine1": "Spine2", "spine2": "Spine3", "neck": "Neck", "head": "Head",
         "collar": "{}_Collar", "shoulder": "{}_Shoulder", "elbow": "{}_Elbow", "wrist": "{}_Wrist",
         "finger": "{}_Hand", "hip": "{}_Hip", "knee": "{}_Knee", "ankle": "{}_Ankle", "toes": "{}_Foot"},
        ("L", "R"), order="XYZ", metres=1.0, unit="m"),
    "acclaim": Family(
        {"hips": "root", "spine": "lowerback", "spine1": "upperback", "spine2": "thorax", "neck": "lowerneck",
         "neck1": "upperneck", "head": "head", "collar": "{}clavicle", "shoulder": "{}humerus", "elbow": "{}radius",
         "carpus": "{}wrist", "wrist": "{}hand", "finger": "{}fingers", "stub": "{}hipjoint", "hip": "{}femur",
         "knee": "{}tibia", "ankle": "{}foot", "toes": "{}toes"},
        ("l", "r"), order="XYZ", metres=0.0254, unit="in"),
}  # fmt: skip


def roles() -> dict[str, tuple[str, np.ndarray]]:
    """Every joint of the person: its parent and its offset in T-pose; sided ones as "left_knee"."""
    found = {role: (parent, np.array(offset, float)) for role, (parent, offset) in TRUNK.items()}
    for side, out in (("left", 1), ("right", -1)):
        for role, (parent, offset) in SIDE.items():
            above = parent if parent in TRUNK else f"{side}_{parent}"
            found[f"{side}_{role}"] = (above, np.array(offset) * [out, 1, 1])
    return found


def walking(frames: int = 45, turned: float = 40.0) -> dict[str, np.ndarray]:
    """World rotations from T-pose of every joint, (frames, 3, 3); the person faces 40 degrees to its left."""
    phase = np.linspace(0, 4 * np.pi, frames)
    still = np.zeros(frames)
    local = {"hips": (turned + 5 * np.sin(phase), 3 + still, still), "spine2": (-8 * np.sin(phase), 6 + still, still),
             "head": (20 + 5 * np.cos(phase), still, still)}  # fmt: skip
    for side, sign, swing in (("left", 1, np.sin(phase)), ("right", -1, -np.sin(phase))):
        local[f"{side}_hip"] = (sign * 4 + still, -8 - 25 * swing, sign * 3 + still)
        local[f"{side}_knee"] = (still, 32 + 25 * np.cos(phase) * sign, still)
        # A foot lies flat when its ankle is lowest.
        local[f"{side}_ankle"] = (still, -(local[f"{side}_hip"][1] + local[f"{side}_knee"][1]) - 3, still)
        local[f"{side}_shoulder"] = (still, 25 * swing, sign * -70 + still)
        local[f"{side}_elbow"] = (-sign * (50 + 25 * swing), still, still)
        local[f"{side}_wrist"] = (still, still, sign * -12 + still)
    world: dict[str, np.ndarray] = {}
    for role, (parent, _) in roles().items():
        own = Rotation.from_euler("YXZ", np.stack(local.get(role, (still,) * 3), -1), degrees=True).as_matrix()
        world[role] = world[parent] @ own if parent else own
    return world


def places(world: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Where every joint is, (frames, 3), metres."""
    found: dict[str, np.ndarray] = {}
    for role, (parent, offset) in roles().items():
        found[role] = (
            found[parent] + world[parent] @ offset if parent else np.broadcast_to(offset, (len(world[role]), 3))
        )
    return found


def own_axes(role: str, family: Family) -> np.ndarray:
    """A bone's own axes in T-pose, as columns."""
    side, _, part = role.partition("_")
    if not family.along_x:
        return np.eye(3)
    if side not in ("left", "right"):
        if family.mirrored and role == "hips":
            return np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])  # x up, y right
        return np.array([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]])  # x up, y forward, z left
    child = {"collar": "shoulder", "shoulder": "roll", "roll": "elbow", "elbow": "carpus", "wrist": "", "finger": "",
             "hip": "knee", "knee": "ankle", "ankle": "toes", "toes": "toes_end"}.get(part, "")  # fmt: skip
    out = np.array([1.0 if side == "left" else -1, 0, 0])
    along = roles()[f"{side}_{child}"][1] if child else out
    along = along / np.linalg.norm(along) * (-1 if family.mirrored and side == "right" else 1)
    hinge = np.array(HINGES[side], float) if abs(along[0]) > 0.5 else np.array([1.0, 0, 0])
    return np.stack([along, np.cross(hinge, along), hinge], -1)


def named(family: Family) -> dict[str, str]:
    """The joints that a family has, by their roles, every parent before its children."""
    names = {}
    for role in roles():
        side, _, part = role.partition("_")
        is_sided = side in ("left", "right")
        name = family.names.get(part if is_sided else role)
        if name:
            names[role] = name.format(family.sides[side == "right"] if is_sided else "")
    return names


def children(family: Family) -> dict[str, list[str]]:
    """What hangs from each joint of a family; from "" the hips."""
    names, found = named(family), {}
    for role in names:
        parent = roles()[role][0]
        while parent and parent not in names:
            parent = roles()[parent][0]
        found.setdefault(parent, []).append(role)
    return found


def write_bvh(family: Family, world: Mapping[str, np.ndarray], frame_time: str = "0.0333333") -> str:
    """A .bvh of the person in a family's layout."""
    place, names, tree, tab = places(world), named(family), children(family), family.indent
    turn = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]) if family.up == "z" else np.eye(3)
    # A zero pose that means something stands in the file's own axes.
    axes = {role: own_axes(role, family) @ (np.eye(3) if family.along_x else turn.T) for role in names}
    rotations = {role: turn @ world[role] @ axes[role] for role in names}
    spots = {role: place[role] @ turn.T / family.metres for role in names}
    lines, columns = ["HIERARCHY"], []

    def write(role: str, parent: str, pad: str) -> None:
        local, offset = rotations[role], spots[role]
        if parent:
            local = rotations[parent].swapaxes(-1, -2) @ local
            offset = (rotations[parent].swapaxes(-1, -2) @ (offset - spots[parent])[..., None])[..., 0]
        position = ["Xposition", "Yposition", "Zposition"] if family.six or not parent else []
        channels = [*position, *(f"{letter}rotation" for letter in family.order)]
        lines.extend([f"{pad}{'JOINT' if pad else 'ROOT'} {names[role]}", f"{pad}{{"])
        lines.append(f"{pad}{tab}OFFSET {show(offset[0] if parent else 0 * offset[0])}")
        lines.append(f"{pad}{tab}CHANNELS {len(channels)} {' '.join(channels)}")
        columns.extend([offset] if position else [])
        columns.append(angles(local, family.order))
        for child in tree.get(role, []):
            write(child, role, pad + tab)
        if role not in tree:
            end = next((offset for above, offset in roles().values() if above == role), np.zeros(3))
            offset = show(axes[role].T @ end / family.metres)
            lines.extend([f"{pad}{tab}End Site", f"{pad}{tab}{{", f"{pad}{tab}{tab}OFFSET {offset}", f"{pad}{tab}}}"])
        lines.append(f"{pad}}}")

    if family.above:
        lines += [f"ROOT {family.above}", "{", "OFFSET 0 0 0", "CHANNELS 3 Zrotation Xrotation Yrotation"]
        columns.append(np.zeros((len(place["hips"]), 3)))
    write("hips", "", tab if family.above else "")
    lines += ["}"] if family.above else []
    table = np.concatenate(columns, 1)
    if family.rest_first:
        table = np.concatenate([np.zeros((1, table.shape[1])), table])
    lines += ["MOTION", f"Frames:{tab}{len(table)}", f"Frame Time: {frame_time}", *map(show, table)]
    return family.line_end.join(lines) + family.line_end


def show(values: np.ndarray) -> str:
    return " ".join(f"{value:.6f}" for value in values)


def angles(rotations: np.ndarray, order: str) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Gimbal lock")  # where any of the angles will do
        return Rotation.from_matrix(rotations).as_euler(order, degrees=True)


def without(family: Family, *missing: str) -> Family:
    """The family without some joints."""
    return replace(family, names={role: name for role, name in family.names.items() if role not in missing})


def slow_joint_places(path: Path) -> dict[str, np.ndarray]:
    """World position of every joint of a .bvh, in its own units; an end site is named after its parent."""
    words = path.read_text().split()
    start = words.index("MOTION")
    names, parents, offsets, channels, stack = [], [], [], [], []
    for at, word in enumerate(words[:start]):
        if word in ("ROOT", "JOINT", "End"):
            names.append(words[at + 1] if word != "End" else names[-1] + " end")
            parents.append(stack[-1] if stack else -1)
            stack.append(len(names) - 1)
            channels.append([])
        elif word == "OFFSET":
            offsets.append(np.array(words[at + 1 : at + 4], float))
        elif word == "CHANNELS":
            channels[-1] = words[at + 2 : at + 2 + int(words[at + 1])]
        elif word == "}":
            stack.pop()
    numbers = np.array(words[words.index("Time:") + 2 :], float).reshape(int(words[words.index("Frames:") + 1]), -1)
    columns = iter(numbers.T)
    turns, places = [], []
    for parent, offset, own in zip(parents, offsets, channels, strict=True):
        values = {channel: next(columns) for channel in own}
        order = "".join(channel[0] for channel in own if channel.endswith("rotation"))
        angles = np.stack([values[f"{letter}rotation"] for letter in order], -1) if order else None
        turn = np.eye(3) if angles is None else Rotation.from_euler(order, angles, degrees=True).as_matrix()
        root = np.stack([values[f"{letter}position"] for letter in "XYZ"], -1) if "Xposition" in values else offset
        turns.append(turn if parent < 0 else turns[parent] @ turn)
        places.append(root if parent < 0 else places[parent] + turns[parent] @ offset)
    return dict(zip(names, places, strict=True))
