"""The mannequin's skinning weights: set ring by ring on its cage, and interpolated by the subdivision."""

from functools import cache
from itertools import pairwise

import numpy as np

from ..skeleton import SMPLH
from .cage import ARM_ROWS, HalfCage, cage, subdivision
from .cage_points import half_cage
from .proportions import ARM, FINGERS, LEG, Build, Floats, Ints

BONES_A_VERTEX = 4
# Along the trunk: the height of the transition from one bone to the next, and half its length. Metres.
SPINE = (("pelvis", 0.0, 0.0), ("spine1", -0.120, 0.085), ("spine2", 0.005, 0.075), ("spine3", 0.075, 0.070))
# Rows of the neck and head from below: how much the neck takes from the chest, and the head from the neck.
NECK = (0.45, 0.80, 0.95, 1.0)
HEAD_FRONT = (0.0, 0.10, 0.35, 0.70, 0.92, 1.0)
HEAD_BACK = (0.0, 0.05, 0.25, 0.55, 0.80, 0.95, 1.0)
# How much of the leg's rows the hip joint moves, at the front (sharp fold) and at the back (the buttock stays round).
HIP_FRONT = (0.86, 0.98, 1.0)
HIP_BACK = (0.68, 0.90, 1.0)
HIP_TRUNK_FRONT = (0.50, 0.20, 0.05)  # and of the trunk's lowest rows
HIP_TRUNK_BACK = (0.38, 0.20, 0.08)
SHOULDER = (0.66, 0.90, 1.0)  # of the arm's first rows
ARMHOLE = (0.34, 0.46, 0.46, 0.46, 0.34, 0.30, 0.24, 0.24, 0.24, 0.30)  # in the order of an arm ring
ELBOW_BLEND = 0.17  # of a bone's length, to either side
KNEE_BLEND = 0.14
PALM_FINGERS = (0.0, 0.04, 0.40, 0.85)  # how much of each palm ring its fingers move
THUMB_ROOT = (0.30, 0.45, 0.20, 0.0)  # how much of each palm ring's thumb side the thumb moves
# How much of each ring of a finger its first joint moves, and, of the rest, the third.
FINGER_FIRST, FINGER_THIRD = (1.0, 0.88, 0.5, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 0.06, 0.5, 1.0)
THUMB_FIRST, THUMB_THIRD = (1.0, 0.90, 0.5, 0.0, 0.0), (0.0, 0.0, 0.0, 0.5, 1.0)
ANKLE = (0.06, 0.25, 0.55, 0.88, 1.0)  # of the leg's last rows
TOES = (0.0, 0.03, 0.22, 0.70, 1.0, 1.0)  # of the foot's rows


def smoothstep(low: float, high: float, value: Floats) -> Floats:
    """From 0 at `low` to 1 at `high`, with zero slope at both."""
    share = np.clip((value - low) / (high - low), 0, 1)
    return share * share * (3 - 2 * share)


def _bone(name: str) -> int:
    return SMPLH.names.index(name)


def _transfer(weights: Floats, points: Ints, source: str, target: str, share: Floats | float) -> None:
    """Move a share of one bone's weight at some points to another bone."""
    moved = weights[points, _bone(source)] * share
    weights[points, _bone(source)] -= moved
    weights[points, _bone(target)] += moved


def _trunk(weights: Floats, plan: HalfCage, points: Floats) -> None:
    rows = np.concatenate([plan.trunk.ravel(), plan.ridge, [plan.groin]])
    weights[rows, _bone("pelvis")] = 1.0
    for (below, *_), (bone, height, half) in pairwise(SPINE):
        _transfer(weights, rows, below, bone, smoothstep(height - half, height + half, points[rows, 1]))
    x, y = points[rows, 0], points[rows, 1]
    _transfer(weights, rows, "spine3", "left_collar", 0.92 * smoothstep(0.03, 0.13, x) * smoothstep(0.07, 0.20, y))
    _transfer(weights, rows, "spine3", "neck", 0.45 * smoothstep(0.20, 0.30, y) * (1 - smoothstep(0.04, 0.10, x)))
    _transfer(weights, plan.neck, "spine3", "neck", 0.12)
    round_back = smoothstep(-1.0, 1.0, -np.cos(np.linspace(0, np.pi, 11)))  # from the front to the back
    for row, (front, back) in enumerate(zip(HIP_TRUNK_FRONT, HIP_TRUNK_BACK, strict=True)):
        aside = smoothstep(0.0, 0.05, points[plan.trunk[row], 0])
        _transfer(weights, plan.trunk[row], "pelvis", "left_hip", aside * (front + (back - front) * round_back))
    for bone, share in zip(plan.armhole, ARMHOLE, strict=True):
        for source in ("left_collar", "spine3", "spine2"):
            _transfer(weights, np.array([bone]), source, "left_shoulder", share)


def _head(weights: Floats, plan: HalfCage) -> None:
    around = np.linspace(0, 1, 7)  # from the front midline to the back
    for row, ring in enumerate(plan.head):
        neck = NECK[min(row, len(NECK) - 1)]
        front, back = HEAD_FRONT[min(row, len(HEAD_FRONT) - 1)], HEAD_BACK[min(row, len(HEAD_BACK) - 1)]
        head = front + (back - front) * around
        weights[ring, _bone("spine3")] = 1 - neck
        weights[ring, _bone("neck")] = neck * (1 - head)
        weights[ring, _bone("head")] = neck * head
    weights[plan.crown, _bone("head")] = 1.0


def _arm(weights: Floats, plan: HalfCage) -> None:
    elbow, wrist = (smoothstep(k - ELBOW_BLEND, k + ELBOW_BLEND, ARM[:, 0]) for k in (1, 2))
    for row, ring in enumerate(plan.arm[:ARM_ROWS]):
        shoulder = SHOULDER[row] if row < len(SHOULDER) else 1.0
        weights[ring, _bone("left_collar")] = 1 - shoulder
        weights[ring, _bone("left_shoulder")] = shoulder
        _transfer(weights, ring, "left_shoulder", "left_elbow", elbow[row])
        _transfer(weights, ring, "left_elbow", "left_wrist", wrist[row])
    palm = plan.arm[ARM_ROWS:]
    weights[palm.ravel(), _bone("left_wrist")] = 1.0
    _transfer(weights, palm[0], "left_wrist", "left_elbow", 0.12)
    names = [name for name in FINGERS if name != "thumb"]
    for ring, share, thumb in zip(palm, PALM_FINGERS, THUMB_ROOT, strict=True):
        for column, pair in enumerate(zip(ring[:5], ring[:4:-1], strict=True)):
            near = [names[k] for k in (column - 1, column) if 0 <= k < 4]
            for point in pair:
                for left, finger in enumerate(near):  # the first takes its part of all, the second of what is left
                    part = share / len(near) / (1 - share / len(near) * left)
                    _transfer(weights, np.array([point]), "left_wrist", f"left_{finger}1", part)
        _transfer(weights, ring[[0, 9]], "left_wrist", "left_thumb1", thumb)
        _transfer(weights, ring[[1, 8]], "left_wrist", "left_thumb1", 0.3 * thumb)


def _fingers(weights: Floats, plan: HalfCage) -> None:
    for finger, rows in zip(FINGERS, plan.fingers, strict=True):
        firsts, thirds = (THUMB_FIRST, THUMB_THIRD) if finger == "thumb" else (FINGER_FIRST, FINGER_THIRD)
        for ring, first, third in zip(rows, firsts, thirds, strict=True):
            weights[ring, _bone(f"left_{finger}1")] = first
            weights[ring, _bone(f"left_{finger}2")] = (1 - first) * (1 - third)
            weights[ring, _bone(f"left_{finger}3")] = (1 - first) * third
    _transfer(weights, plan.fingers[-1][0], "left_thumb1", "left_wrist", 0.15)


def _leg(weights: Floats, plan: HalfCage) -> None:
    knee = smoothstep(1.0 - KNEE_BLEND, 1 + KNEE_BLEND, LEG[:, 0])
    behind = smoothstep(-1.0, 1.0, -np.sin(np.radians(30 * np.arange(12))))
    for row, ring in enumerate(plan.leg):
        front, back = HIP_FRONT[min(row, 2)], HIP_BACK[min(row, 2)]
        hip = front + (back - front) * behind
        weights[ring, _bone("pelvis")] = 1 - hip
        weights[ring, _bone("left_hip")] = hip
        _transfer(weights, ring, "left_hip", "left_knee", knee[row] if row < len(knee) else 1.0)
    for ring, share in zip(plan.leg[-len(ANKLE) :], ANKLE, strict=True):
        _transfer(weights, ring, "left_knee", "left_ankle", share)
    for ring, share in zip(plan.foot, TOES, strict=True):
        weights[ring, _bone("left_ankle")] = 1 - share
        weights[ring, _bone("left_foot")] = share
    weights[plan.toe, _bone("left_foot")] = 1.0
    weights[plan.sole, _bone("left_ankle")] = 1.0


@cache
def mirrored_joints() -> Ints:
    """The joint (52,) on the other side of each joint."""
    swap = {"left": "right", "right": "left"}
    names = ["_".join([swap.get(side, side), *rest]) for side, *rest in (name.split("_") for name in SMPLH.names)]
    return np.array([SMPLH.names.index(name) for name in names])


@cache
def skinning_weights() -> Floats:
    """Weights (6890, 52): rows sum to 1 and have at most four entries; symmetric, and the same for every build."""
    plan, points = HalfCage.numbered(), half_cage(Build())
    half = np.zeros((len(points), len(SMPLH)))
    _trunk(half, plan, points)
    _head(half, plan)
    _arm(half, plan)
    _fingers(half, plan)
    _leg(half, plan)
    whole = cage()
    left = half[whole.half]
    right = left[:, mirrored_joints()]
    side = whole.side[:, None]
    weights = subdivision().matrix @ np.where(side > 0, left, np.where(side < 0, right, 0.5 * (left + right)))
    weights = np.asarray(weights)
    # Weights equal to the fifth are dropped too: on the midline left and right must be kept or dropped together.
    fifth = np.sort(weights, axis=1)[:, -BONES_A_VERTEX - 1, None]
    weights[weights < np.maximum(fifth + 1e-9, 1e-4)] = 0
    return weights / weights.sum(axis=1, keepdims=True)
