"""How the bones of a .bvh are turned at rest: standing upright, arms out, palms down, legs straight, feet flat.

Some skeletons stand so where all their rotations are zero, or nearly. In others a zero pose means nothing: every bone
points along its own x axis, and only the motion shows what is up, left, and the way that a knee bends. The result is
the same for both: for each bone the rotation from its own axes to the world's, y up and facing +z, at rest.
"""

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
from scipy.spatial.transform import Rotation

from ...errors import MotionError
from ..bone_axes import axes_along, shortest_rotation
from .joints import SIDES, BodyJoints
from .posing import PosedJoints

DOWN, UP, LEFT, FORWARD = (np.array(v, dtype=float) for v in ((0, -1, 0), (0, 1, 0), (1, 0, 0), (0, 0, 1)))
# Where a limb points at rest, and the axis that its knee or elbow bends about, for the left and the right side.
LEGS = {"left": (DOWN, LEFT), "right": (DOWN, LEFT)}
ARMS = {"left": (LEFT, DOWN), "right": (-LEFT, UP)}
# Weight of the usual axis of a hinge beside those seen, which weigh as the sine of their bend.
USUAL_HINGE = 0.05
SAME_HINGE = 0.25  # cosine, of the hinge as the two bones of a limb have it, from which it is one
FLAT_SHARE = 10.0  # percent of the frames, those of the lowest ankle, in which a foot is taken to lie flat
FOOT_SLOPE = (15.0, 45.0)  # degrees that a person's ankle joint lies above the ball of the foot
_AXES = np.concatenate([np.eye(3), -np.eye(3)])
_QUARTER_TURNS = Rotation.create_group("O").as_matrix()

Rest = dict[str, np.ndarray]  # by SMPL's name of the joint at the bone's start, or "spine0", "neck0" and so on


def rest_rotations(joints: BodyJoints, posed: PosedJoints, zero: PosedJoints) -> Rest:
    """For each bone the rotation from its own axes to those of a body at rest, (3, 3).

    `zero` is the pose of all rotations at zero. Raises MotionError where the motion is no person's.
    """
    upright = _standing(joints, zero)
    rest = _trunk(joints, posed, upright)
    for side in SIDES:
        trunk = {"leg": "pelvis", "arm": _name_of_chest(joints)}
        for limb, table, names in (
            ("leg", LEGS, ("hip", "knee", "ankle")),
            ("arm", ARMS, ("shoulder", "elbow", "wrist")),
        ):
            base = posed.rotations[joints.pelvis if limb == "leg" else joints.chest] @ rest[trunk[limb]].T
            chain = tuple(joints.limbs[f"{side}_{name}"] for name in names)
            turns = _hinged(posed, chain, base, *table[side])
            rest |= {f"{side}_{name}": turn for name, turn in zip(names[:2], turns, strict=True)}
        rest[f"{side}_wrist"] = _hand(joints, posed, zero, upright, side, rest)
        rest |= _foot(joints, posed, zero, upright, side, rest)
    _require_forward(joints, posed, rest)
    return rest


def usual_hinge(direction: np.ndarray, hinge: np.ndarray, base: np.ndarray, along: np.ndarray) -> np.ndarray:
    """A limb's hinge where it got by the shortest way to where it points, in the world, (frames, 3)."""
    start, axis = base @ direction, base @ hinge
    turn = np.cross(start, along)
    cosine = np.maximum(1 + (start * along).sum(-1, keepdims=True), 1e-3)
    return np.asarray(axis + np.cross(turn, axis) + np.cross(turn, np.cross(turn, axis)) / cosine)


def _standing(joints: BodyJoints, zero: PosedJoints) -> np.ndarray | None:
    """The rotation from the zero pose's axes to the rest pose's, where that is a pose of a standing person."""
    place = {name: zero.places[joint][0] for name, joint in joints.limbs.items()}
    hips = place["left_hip"] - place["right_hip"]
    trunk = zero.places[joints.head][0] - 0.5 * (place["left_hip"] + place["right_hip"])
    turn = _upright(hips, trunk)
    if turn is None or _unit(turn @ trunk)[1] < 0.8:
        return None

    def way(start: str, end: str) -> np.ndarray:
        return _unit(turn @ (place[end] - place[start]))

    mirror = np.array([-1.0, 1, 1])
    for side in SIDES:
        out = 1 if side == "left" else -1
        thigh, shin = way(f"{side}_hip", f"{side}_knee"), way(f"{side}_knee", f"{side}_ankle")
        arm, forearm = way(f"{side}_shoulder", f"{side}_elbow"), way(f"{side}_elbow", f"{side}_wrist")
        legs_down = thigh @ DOWN > 0.64 and shin @ DOWN > 0.64
        arms_out = arm[0] * out > -0.2 and arm[1] < 0.5 and arm @ forearm > 0.5
        feet_forward = f"{side}_foot" not in place or way(f"{side}_ankle", f"{side}_foot") @ FORWARD > 0
        if not (legs_down and arms_out and feet_forward):
            return None
    same = way("left_shoulder", "left_elbow") @ (way("right_shoulder", "right_elbow") * mirror)
    return turn if same > 0.9 else None


def _trunk(joints: BodyJoints, posed: PosedJoints, upright: np.ndarray | None) -> Rest:
    """Pelvis, spine, neck, head and collar bones at rest, all upright."""
    chain = [("pelvis", joints.pelvis), *((f"spine{k}", joint) for k, joint in enumerate(joints.spine))]
    head = [*((f"neck{k}", joint) for k, joint in enumerate(joints.neck)), ("head", joints.head)]
    collars = [(f"{side}_collar", joint) for side, joint in joints.collars.items()]
    if upright is not None:
        return {name: upright for name, _ in (*chain, *head, *collars)}
    pelvis = _upright(
        posed.offset(joints.pelvis, joints.limbs["left_hip"]) - posed.offset(joints.pelvis, joints.limbs["right_hip"]),
        posed.offset(joints.pelvis, joints.spine[0] if joints.spine else joints.head),
    )
    if pelvis is None:
        raise MotionError(f"{posed.name}: the spine does not rise between the legs; map the joints with --joints.")
    rest = {"pelvis": pelvis}
    for line in (chain, [chain[-1], *head], *([chain[-1], collar] for collar in collars)):
        for (below, parent), (name, joint) in pairwise(line):
            between = (posed.rotations[parent].swapaxes(-1, -2) @ posed.rotations[joint]).sum(0)
            rest[name] = rest[below] @ _nearest_quarter_turn(between)
    return rest


def _hinged(
    posed: PosedJoints, chain: tuple[int, ...], base: np.ndarray, direction: np.ndarray, hinge: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The two bones of a limb at rest: along a direction, with the axis that they are seen to bend about as a hinge."""
    start, middle, end = (posed.places[joint] for joint in chain)
    upper, lower = _unit(middle - start), _unit(end - middle)
    usual = usual_hinge(direction, hinge, base, upper)
    bends = np.cross(upper, lower)
    seen = bends + USUAL_HINGE * usual
    own = [_unit((posed.rotations[bone].swapaxes(-1, -2) @ seen[..., None]).sum(0)[:, 0]) for bone in chain[:2]]
    # A forearm may turn about itself too. Both bones have the same axes in their zero pose, in all usual skeletons.
    if own[0] @ own[1] > SAME_HINGE:
        own[1] = own[0]
    turns = []
    for (bone, child), axis in zip(pairwise(chain), own, strict=True):
        axes = axes_along(_unit(posed.offset(bone, child)), axis)
        if axes is None:
            raise MotionError(
                f"{posed.name}: {posed.names[bone]} has no length or no hinge; map the joints with --joints."
            )
        rest = axes_along(direction, hinge)
        assert rest is not None
        turns.append(rest @ axes.T)
    return turns[0], turns[1]


def _hand(
    joints: BodyJoints, posed: PosedJoints, zero: PosedJoints, upright: np.ndarray | None, side: str, rest: Rest
) -> np.ndarray:
    """A hand at rest, palm down and straight on from the forearm."""
    elbow, wrist = joints.limbs[f"{side}_elbow"], joints.limbs[f"{side}_wrist"]
    if upright is not None:
        forearm = upright @ (zero.places[wrist] - zero.places[elbow])[0]
        return shortest_rotation(forearm, ARMS[side][0]) @ upright
    between = (posed.rotations[elbow].swapaxes(-1, -2) @ posed.rotations[wrist]).sum(0)
    return rest[f"{side}_elbow"] @ _nearest_quarter_turn(between)


def _foot(
    joints: BodyJoints, posed: PosedJoints, zero: PosedJoints, upright: np.ndarray | None, side: str, rest: Rest
) -> Rest:
    """A foot and its toes at rest, flat on the floor."""
    knee, ankle = joints.limbs[f"{side}_knee"], joints.limbs[f"{side}_ankle"]
    toes = joints.limbs.get(f"{side}_foot")
    if upright is not None:
        shin = upright @ (zero.places[ankle] - zero.places[knee])[0]
        turn = shortest_rotation(shin, DOWN) @ upright
        return {f"{side}_ankle": turn, f"{side}_foot": turn}
    height = posed.places[ankle][:, 1]
    flat = height <= np.percentile(height, FLAT_SHARE)
    rotations = posed.rotations[ankle][flat]
    up = _unit((rotations.swapaxes(-1, -2) @ UP).sum(0))
    ahead = posed.offset(ankle, toes) if toes is not None else np.zeros(3)
    if not ahead.any():
        facing = posed.rotations[joints.pelvis][flat] @ rest["pelvis"].T @ FORWARD
        ahead = (rotations.swapaxes(-1, -2) @ facing[..., None]).sum(0)[:, 0]
    ahead = _unit(ahead)
    slope = np.clip(np.arcsin(np.clip(-ahead @ up, -1, 1)), *np.radians(FOOT_SLOPE))
    axes = axes_along(ahead, np.cross(up, ahead))
    sloping = axes_along(np.array([0, -np.sin(slope), np.cos(slope)]), LEFT)
    if axes is None or sloping is None:
        raise MotionError(f"{posed.name}: {posed.names[ankle]} points straight down; map the joints with --joints.")
    turn = sloping @ axes.T
    if toes is None or toes not in posed.rotations:
        return {f"{side}_ankle": turn, f"{side}_foot": turn}
    between = (rotations.swapaxes(-1, -2) @ posed.rotations[toes][flat]).mean(0)
    return {f"{side}_ankle": turn, f"{side}_foot": turn @ _nearest_rotation(between)}


def _require_forward(joints: BodyJoints, posed: PosedJoints, rest: Mapping[str, np.ndarray]) -> None:
    """Raise MotionError where knees bend forwards and feet point back: left is right, or the joints are others."""
    pelvis = posed.rotations[joints.pelvis] @ rest["pelvis"].T
    bends, feet = [], []
    for side in SIDES:
        hip, knee, ankle = (posed.places[joints.limbs[f"{side}_{name}"]] for name in ("hip", "knee", "ankle"))
        upper = _unit(knee - hip)
        usual = usual_hinge(*LEGS[side], pelvis, upper)
        bends.append((np.cross(upper, _unit(ankle - knee)) * usual).sum(-1).mean())
        if f"{side}_foot" in joints.limbs:
            foot = posed.places[joints.limbs[f"{side}_foot"]] - ankle
            feet.append((_unit(foot) * (pelvis @ FORWARD)).sum(-1).mean())
    if np.mean(bends) < -0.1 or (feet and np.mean(feet) < -0.1):
        raise MotionError(
            f"{posed.name}: the feet point backwards or the knees bend forwards, as if left were right; map the joints "
            "with --joints."
        )


def _name_of_chest(joints: BodyJoints) -> str:
    return f"spine{len(joints.spine) - 1}" if joints.spine else "pelvis"


def _upright(left: np.ndarray, up: np.ndarray) -> np.ndarray | None:
    """The rotation that brings these directions to +x and +y; the nearest axes where they are near to one."""
    across = _near_axis(left, 10)
    rising = _near_axis(up, 40)
    rising = rising - across * (across @ rising)
    if not np.linalg.norm(across) > 0.5 or np.linalg.norm(rising) < 0.5:
        return None
    rising /= np.linalg.norm(rising)
    return np.stack([across, rising, np.cross(across, rising)])


def _near_axis(direction: np.ndarray, degrees: float) -> np.ndarray:
    """The axis within so many degrees of a direction, or else the direction itself, of unit length."""
    unit = _unit(direction)
    best = _AXES[(_AXES @ unit).argmax()]
    return best if best @ unit > np.cos(np.radians(degrees)) else unit


def _nearest_quarter_turn(matrix: np.ndarray) -> np.ndarray:
    """The rotation by quarter turns about the axes that is nearest to a sum of rotations."""
    return np.asarray(_QUARTER_TURNS[np.einsum("kij,ij->k", _QUARTER_TURNS, matrix).argmax()])


def _nearest_rotation(matrix: np.ndarray) -> np.ndarray:
    left, _, right = np.linalg.svd(matrix)
    return np.asarray(left @ np.diag([1, 1, np.linalg.det(left @ right)]) @ right)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9))
