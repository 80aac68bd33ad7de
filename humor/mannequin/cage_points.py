"""The joints and the left half's control points of a build: the tables' cross-sections, stretched and placed.

Points come in the order in which `cage.HalfCage` numbers them: trunk, head, arm, fingers, leg, foot.
"""

import numpy as np

from ..skeleton import SMPLH
from . import proportions as shape
from .proportions import FINGERS, PELVIS, Build, Floats


def _stretch(build: Build, points: Floats) -> Floats:
    """Points of the trunk with the part above the pelvis made longer."""
    points = points.copy()
    points[..., 1] += (build.torso - 1) * np.clip(points[..., 1] - PELVIS[1], 0, None)
    return points


def _head_shift(build: Build) -> Floats:
    return _stretch(build, shape.HEAD_BASE) - shape.HEAD_BASE


def _left_joints(build: Build) -> dict[str, Floats]:
    """The trunk's and left side's joints by their names without a side, at the reference stature."""
    joints = {name: np.array(place, dtype=float) for name, place in shape.JOINTS.items()}
    hip = joints["hip"].copy()
    for name, share in (("hip", 1.0), ("knee", 0.6), ("ankle", 0.5), ("foot", 0.5)):
        joints[name][0] += share * build.hips
    drop = (build.legs - 1) * (joints["ankle"][1] - hip[1])
    joints["knee"][1] = hip[1] + build.legs * (joints["knee"][1] - hip[1])
    joints["ankle"][1] += drop
    joints["foot"][1] += drop
    joints["foot"][2] = joints["ankle"][2] + build.feet * (joints["foot"][2] - joints["ankle"][2])
    for name in ("spine1", "spine2", "spine3", "neck", "collar"):
        joints[name] = _stretch(build, joints[name])
    joints["head"] = shape.HEAD_BASE + _head_shift(build) + build.head * (joints["head"] - shape.HEAD_BASE)
    shoulder = joints["shoulder"].copy()
    moved = _stretch(build, shoulder) + np.array([build.shoulders, 0, 0])
    for name in ("shoulder", "elbow", "wrist"):
        joints[name] = moved + build.arms * (joints[name] - shoulder)
    joints["collar"][0] += 0.3 * build.shoulders
    return joints


def _finger_chain(build: Build, finger: shape.Finger, wrist: Floats) -> tuple[Floats, Floats]:
    """A finger's three joints and tip (4, 3), metres, and the unit vector that it points along."""
    along = np.array(finger.direction) / np.linalg.norm(finger.direction)
    root = wrist + build.hands * np.array(finger.knuckle)
    places = build.hands * np.array([0.0, *finger.joints])
    return root + places[:, None] * along, along


def _to_stature(build: Build, points: Floats) -> Floats:
    return PELVIS + build.stature / shape.REFERENCE_STATURE * (points - PELVIS)


def joint_positions(build: Build) -> Floats:
    """The 52 joints (52, 3) in the rest pose, metres, in SMPL+H order."""
    left = _left_joints(build)
    for name, finger in FINGERS.items():
        chain, _ = _finger_chain(build, finger, left["wrist"])
        left |= {f"{name}{k + 1}": chain[k] for k in range(3)}
    places = []
    for name in SMPLH.names:
        side, _, plain = name.rpartition("_")
        places.append(left[plain] * ([-1, 1, 1] if side == "right" else [1, 1, 1]))
    return _to_stature(build, np.array(places))


def _between(low: float | Floats, high: float | Floats, share: float | Floats) -> Floats:
    return np.asarray(low + (high - low) * share)


def _signed_power(values: Floats, power: float | Floats) -> Floats:
    """Powers that keep the sign; below 1, those of a sine and cosine make an oval more rectangular."""
    return np.sign(values) * np.abs(values) ** power


def _trunk_sections(build: Build) -> tuple[Floats, Floats, Floats]:
    """Half width, front and back depth of each of the trunk's rows."""
    table, y = shape.TRUNK, shape.TRUNK[:, 0]
    width, front, back = (_between(table[:, c], table[:, c + 1], build.femininity) * build.girth for c in (2, 4, 6))
    belly = build.belly * np.exp(-(((y + 0.10) / 0.085) ** 2))
    chest = build.chest * np.exp(-(((y - 0.09) / 0.07) ** 2))
    hips = build.hips * np.clip(1 - (np.arange(len(y)) - 1) / 4, 0, 1)
    return width + hips + 0.3 * belly, front + belly + chest, back


def _trunk(build: Build) -> Floats:
    """The trunk's rows of eleven points, front midline round the side to the back, then its few single points."""
    f, table, angles = build.femininity, shape.TRUNK, shape.TRUNK_ANGLES
    y, rise, cleft_front, cleft_back = (table[:, c : c + 1] for c in (0, 1, 8, 9))
    width, front, back = (part[:, None] for part in _trunk_sections(build))
    across, along = np.sin(angles), np.cos(angles)
    near_midline = np.array([1.0, 0.45, 0.05, 0, 0, 0, 0, 0, 0.05, 0.45, 1.0])
    z = np.where(along > 0, front, -back) * _signed_power(along, 0.85)
    z -= np.where(along > 0, cleft_front, -cleft_back) * near_midline
    for reliefs, share in ((shape.BUST, f), (shape.PECTORAL, (1 - f) * build.muscle)):
        for row, relief in reliefs.items():
            z[row, :5] += share * np.array(relief)
    points = np.stack([width * across**0.9, y + rise * across**2, z], axis=-1).reshape(-1, 3)
    points = np.concatenate([points, shape.SHOULDER_TOP, shape.GROIN])
    upper = np.clip((points[:, 1] - 0.05) / 0.10, 0, 1) * np.clip(points[:, 0] / 0.16, 0, 1)
    points[:, 0] += build.shoulders * upper
    return _stretch(build, points)


def _head(build: Build) -> Floats:
    """Rings of the neck and head of seven points, front midline round the side to the back, then the crown's two."""
    t = shape.HEAD
    front_y, side_y, none = t[:, 0], t[:, 7], np.zeros(len(t))
    side, back = t[:, 6:9], np.stack([none, t[:, 9], t[:, 10]], axis=1)
    columns = [
        np.stack([none, front_y, t[:, 1]], axis=1),
        np.stack([t[:, 2], front_y + 0.04 * (side_y - front_y), t[:, 3]], axis=1),
        np.stack([t[:, 4], front_y + 0.20 * (side_y - front_y), t[:, 5]], axis=1),
        side,
    ]
    for angle in np.radians(shape.BACK_COLUMNS):
        columns.append(side * [np.cos(angle), 1, 1] + (back - side) * [0, np.sin(angle) ** 3, np.sin(angle)])
    columns.append(back)
    rings = np.stack(columns, axis=1)
    for ring, ear in shape.EARS.items():
        rings[ring, 4:6, 0] += ear, -0.3 * ear
    slim = _between(build.neck, 1.0, np.clip((np.arange(len(t)) - 2) / 2.5, 0, 1))
    rings[..., 0] *= slim[:, None]
    rings[..., 2] *= slim[:, None]
    points = np.concatenate([rings.reshape(-1, 3), shape.CROWN])
    return shape.HEAD_BASE + _head_shift(build) + build.head * (points - shape.HEAD_BASE)


def _arm(build: Build, joints: dict[str, Floats]) -> Floats:
    """Rings of ten points down the arm and over the palm."""
    t = shape.ARM
    bones = np.stack([joints["shoulder"], joints["elbow"], joints["wrist"]])
    centres = np.stack([np.interp(t[:, 0], [0, 1, 2], bones[:, k]) for k in range(3)], axis=1)
    fore = np.clip(t[:, 0] - 0.7, 0, 1)
    bulk = build.girth**0.8 * build.muscle * _between(1.0, build.calves, fore)
    bulk = np.where(t[:, 0] > 1.9, 1 + 0.5 * (bulk - 1), bulk)
    centres[:, 1:] += t[:, 1:3] * bulk[:, None]
    heights, depths = np.sin(shape.ARM_ANGLES), np.cos(shape.ARM_ANGLES)
    rings = np.repeat(centres[:, None], 10, axis=1)
    rings[..., 1] += (t[:, 3] * bulk)[:, None] * heights
    rings[..., 2] += (t[:, 4] * bulk)[:, None] * depths
    return np.concatenate([rings.reshape(-1, 3), _palm(build, joints["wrist"]).reshape(-1, 3)])


def _palm(build: Build, wrist: Floats) -> Floats:
    """Four flat rings (4, 10, 3) from the wrist to the webs of the fingers, the last one with evenly spaced corners."""
    rings = []
    for k, (reach, y, z, height, breadth) in enumerate(shape.PALM):
        flat = (k + 1) / len(shape.PALM)  # from an oval to a strip of four squares
        heights = _signed_power(np.sin(shape.ARM_ANGLES), _between(0.8, 0.25, flat))
        spread = np.concatenate([np.linspace(1, -1, 5), np.linspace(-1, 1, 5)])
        depths = _between(1.0, 0.0, flat) * np.cos(shape.ARM_ANGLES) + flat * spread
        arc = np.concatenate([shape.KNUCKLE_REACH, shape.KNUCKLE_REACH[::-1]]) * flat
        rings.append(np.stack([reach + arc, y + height * heights, z + breadth * depths], axis=1))
    return wrist + build.hands * np.array(rings)


FINGER_SQUARE = 1.12  # subdivision rounds a ring of four points, and makes it smaller


def _fingers(build: Build, wrist: Floats) -> Floats:
    """Rings of four points along each finger; the last ring is the finger's blunt tip."""
    points = []
    for name, finger in FINGERS.items():
        chain, along = _finger_chain(build, finger, wrist)
        first, second, length = build.hands * np.array(finger.joints)
        if name == "thumb":
            bare = build.hands * 0.031  # where it leaves the palm; its first rings are parallel to the palm's side
            places = np.array([bare, 0.5 * (bare + first), first, second, length])
            turn = np.array([0.9, 0.4, 0.1, 0, 0])[:, None]
            axes = along + turn * (np.array([0.0, 0.0, 1.0]) - along)
            up = np.array([0.35, 0.9, 0.0])
        else:
            bare = build.hands * 0.021
            places = np.array([bare, _between(bare, first, 0.55), first, 0.5 * (first + second), second, length])
            axes, up = along[None], np.array([0.0, 1.0, 0.0])
        axes = axes / np.linalg.norm(axes, axis=1, keepdims=True)
        front = np.cross(axes, up)  # towards the index finger's side; the thumb's towards the wrist
        front /= np.linalg.norm(front, axis=1, keepdims=True)
        up = np.cross(front, axes)
        radii = build.hands * np.interp(places / length, [0, 0.5, 0.9, 1.0], [*finger.radii, 0.78 * finger.radii[2]])
        corners = np.stack([up + front, up - front, -up - front, front - up], axis=1) * np.sqrt(0.5) * FINGER_SQUARE
        points.append(chain[0] + places[:, None, None] * along + radii[:, None, None] * corners)
    return np.concatenate([p.reshape(-1, 3) for p in points])


def _leg(build: Build, joints: dict[str, Floats]) -> Floats:
    """Rings of twelve points down the leg and heel, forward along the foot; then the points of toe cap and sole."""
    place, x, z, width, depth, rise = shape.LEG.T
    bones = np.stack([joints["hip"], joints["knee"], joints["ankle"]])
    centres = np.stack([np.interp(place, [0, 1, 2], bones[:, k]) for k in range(3)], axis=1)
    lower = np.clip(place - 0.6, 0, 1)
    bulk = build.girth**0.8 * build.muscle**0.7 * _between(build.thighs, build.calves, lower)
    bulk = np.where(place > 1.8, 1 + 0.5 * (bulk - 1), bulk)
    # The thighs may not meet: what a thigh gains goes to the outside.
    inner = np.minimum(width * bulk, np.maximum(centres[:, 0] + x - 0.004, 0.02))
    out, front = np.cos(shape.LEG_ANGLES), np.sin(shape.LEG_ANGLES)
    rings = np.repeat(centres[:, None], 12, axis=1)
    rings[..., 0] += x[:, None] + np.where(out > 0, (width * bulk)[:, None], inner[:, None]) * out
    rings[..., 1] += 0.5 * rise[:, None] * out
    rings[..., 2] += (z * bulk)[:, None] + (depth * bulk)[:, None] * front
    ankle = joints["ankle"]
    sole = shape.SOLE + ankle[1] - shape.ANKLE_HEIGHT
    heel = _heel(build, ankle, sole)
    return np.concatenate([rings.reshape(-1, 3), heel.reshape(-1, 3), _foot(build, ankle, sole, heel[-1])])


def _heel(build: Build, ankle: Floats, sole: float) -> Floats:
    """The leg's last three rings (3, 12, 3), from the instep down to the sole."""
    height, half, front, back = (shape.HEEL[:, c : c + 1] for c in range(4))
    x = ankle[0] + build.feet**0.5 * half * _signed_power(np.cos(shape.LEG_ANGLES), 0.8)
    z = ankle[2] + 0.5 * (front + back) + 0.5 * (front - back) * _signed_power(np.sin(shape.LEG_ANGLES), 0.8)
    return np.stack([x, np.broadcast_to(sole + height, x.shape), z], axis=-1)


def _foot(build: Build, ankle: Floats, sole: float, heel: Floats) -> Floats:
    """The foot's rings from inner top over the outside to the inner bottom, and the points inside its two ends."""
    z, x, half, top, bottom = (shape.FOOT[:, c : c + 1] for c in range(5))
    slant = shape.TOE_SLANT * np.clip((z - 0.13) / 0.078, 0, 1) * half * (shape.FOOT_ACROSS + 0.6)
    rings = np.stack(
        [
            ankle[0] + x + build.feet**0.5 * half * shape.FOOT_ACROSS,
            sole + bottom + (top - bottom) * shape.FOOT_DOME,
            ankle[2] + build.feet * z - slant,
        ],
        axis=-1,
    )
    toe = 0.5 * (rings[-1, [1, 2, 3]] + rings[-1, [9, 8, 7]])
    toe[:, 2] += build.feet * (shape.TOE_TIP - shape.FOOT[-1, 0])
    middle = heel.mean(axis=0)
    inner = middle + 0.33 * (heel[[0, 3, 9, 6]] - middle)
    inner[:, 1] = sole
    return np.concatenate([rings.reshape(-1, 3), toe, inner])


def half_cage(build: Build) -> Floats:
    """The left half's control points (n, 3), metres, rest pose."""
    joints = _left_joints(build)
    parts = [_trunk(build), _head(build), _arm(build, joints), _fingers(build, joints["wrist"]), _leg(build, joints)]
    return _to_stature(build, np.concatenate(parts))
