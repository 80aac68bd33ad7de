"""Express a .bvh's motion on CMU's bones, from which it is retargeted as CMU's is."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from ...errors import MotionError
from ...rotations import Y_UP_TO_Z_UP
from ..bone_axes import shortest_rotation
from ..importing import SourceClip
from ..source_motion import SourceMotion, SourceSkeleton
from .joints import SIDES, WORDS, BodyJoints, recognise_joints
from .posing import PosedJoints, pose_at_zero, pose_joints
from .reading import read_bvh, without_rest_pose
from .rest_pose import ARMS, FORWARD, LEFT, LEGS, UP, Rest, rest_rotations

# Metres; "cmu" is that of CMU's own files, in which many of its motions were converted.
UNITS = {"m": 1.0, "cm": 0.01, "mm": 0.001, "in": 0.0254, "cmu": 0.0254 / 0.45}
STATURE = 1.7  # metres, by which a unit is told
STATURE_TO_CHAIN = 1.23  # a body's height by the length from its ankles to its hips and from there to its head
STATURES = (0.8, 2.6)  # metres
MAX_METRES = 1000.0
FRAMES_FOR_REST = 500  # of a motion, spread over it, from which the rest pose is told
SHORT = 0.08  # metres: hands and toes, whose length nothing depends on
# CMU's bone, the one that it hangs from, and SMPL's joint at its start.
BONES = (
    ("root", "", "pelvis"), ("lowerback", "root", "spine1"), ("upperback", "lowerback", "spine2"),
    ("thorax", "upperback", "spine3"), ("upperneck", "thorax", "neck"), ("head", "upperneck", "head"),
    *((side[0] + bone, side[0] + parent if parent not in ("root", "thorax") else parent, joint.format(side))
      for side in SIDES for bone, parent, joint in (
        ("hipjoint", "root", "pelvis"), ("femur", "hipjoint", "{}_hip"), ("tibia", "femur", "{}_knee"),
        ("foot", "tibia", "{}_ankle"), ("toes", "foot", "{}_foot"), ("clavicle", "thorax", "{}_collar"),
        ("humerus", "clavicle", "{}_shoulder"), ("radius", "humerus", "{}_elbow"), ("wrist", "radius", "{}_elbow"),
        ("hand", "wrist", "{}_wrist"))),
)  # fmt: skip


def read_source(
    path: Path, unit: str | None = None, up: str | None = None, given: Mapping[str, str] | None = None
) -> SourceClip:
    """Read a .bvh of any humanoid skeleton: its motion on CMU's bones, in metres, y up.

    Unit and up axis are told by the body where they are left out; `given` maps SMPL's names of joints to the file's.
    Raises FileError for a damaged file, MotionError for one that is no person's motion or whose joints cannot be told.
    """
    motion, had_rest = without_rest_pose(read_bvh(path))
    joints = recognise_joints(motion, given)
    wanted = {joints.pelvis, *joints.spine, *joints.neck, joints.head, *joints.limbs.values(), *joints.collars.values()}
    posed, zero = pose_joints(motion, wanted), pose_at_zero(motion, wanted)
    up = up or _up(joints, posed)
    if up == "z":
        posed = posed.turned(np.array(Y_UP_TO_Z_UP).T)
    few = posed.every(-(-len(motion) // FRAMES_FOR_REST))
    unit, metres = _unit(joints, few, unit)
    rest = rest_rotations(joints, few, zero)
    skeleton = _skeleton(joints, few, rest, metres)
    clip = SourceMotion(posed.places[joints.pelvis] * metres, _local(skeleton, _world(joints, posed, rest)))
    if not np.abs(clip.root_translation).max() <= MAX_METRES:
        raise MotionError(f"{motion.name}: over {MAX_METRES:g} m away in {unit}; pass --unit, or cut those frames out.")
    layout = f"{unit}, {up} up, {motion.fps:.4g}/s" + ", first frame a rest pose, left out" * had_rest
    return SourceClip(skeleton, clip, motion.fps, layout=layout)


def _up(joints: BodyJoints, posed: PosedJoints) -> str:
    """The axis along which heads are above feet: y, unless it is clearly z."""
    feet = 0.5 * (posed.places[joints.limbs["left_ankle"]] + posed.places[joints.limbs["right_ankle"]])
    upwards = posed.places[joints.head] - feet
    _, y, z = (upwards / np.maximum(np.linalg.norm(upwards, axis=-1, keepdims=True), 1e-9)).mean(0)
    return "z" if z > 0.5 and z > 1.5 * abs(y) else "y"


def _unit(joints: BodyJoints, posed: PosedJoints, given: str | None) -> tuple[str, float]:
    """The unit in which the body is as high as a person, and its metres."""
    legs = sum(_length(posed, [joints.limbs[f"{side}_{name}"] for name in ("hip", "knee", "ankle")]) for side in SIDES)
    trunk = _length(posed, [joints.pelvis, *joints.spine, *joints.neck, joints.head])
    height = STATURE_TO_CHAIN * (legs / 2 + trunk)
    if given is not None:
        return given, UNITS[given]
    unit = min(UNITS, key=lambda unit: abs(np.log(max(height, 1e-9) * UNITS[unit] / STATURE)))
    if not STATURES[0] < height * UNITS[unit] < STATURES[1]:
        raise MotionError(
            f"{posed.name}: a body {height:.3g} units high; expected a person's in {', '.join(UNITS)}, pass --unit."
        )
    return unit, UNITS[unit]


def _world(joints: BodyJoints, posed: PosedJoints, rest: Rest) -> dict[str, np.ndarray]:
    """World rotation from rest of SMPL's joints, (frames, 3, 3) each."""
    limbs = {name: joint for name, joint in joints.limbs.items() if joint in posed.rotations and name in rest}

    def turned(name: str, joint: int) -> np.ndarray:
        return posed.rotations[joint] @ rest[name].T

    pelvis = turned("pelvis", joints.pelvis)
    spine = [pelvis, *(turned(f"spine{k}", joint) for k, joint in enumerate(joints.spine))]
    world = {"pelvis": pelvis, "spine3": spine[-1], "head": turned("head", joints.head)}
    for name, share in (("spine1", 1 / 3), ("spine2", 2 / 3)):
        world[name] = _between(spine, share)
    last = len(joints.neck) - 1
    world["neck"] = (
        turned(f"neck{last}", joints.neck[last]) if joints.neck else _between([spine[-1], world["head"]], 0.5)
    )
    for side in SIDES:
        collar = joints.collars.get(side)
        world[f"{side}_collar"] = spine[-1] if collar is None else turned(f"{side}_collar", collar)
    world |= {name: turned(name, joint) for name, joint in limbs.items()}
    for side in SIDES:
        world.setdefault(f"{side}_foot", world[f"{side}_ankle"])
    return world


def _between(rotations: Sequence[np.ndarray], share: float) -> np.ndarray:
    """The rotation at a share of the way along a chain of rotations."""
    at = share * (len(rotations) - 1)
    first = min(int(at + 1e-9), len(rotations) - 2) if len(rotations) > 1 else 0
    rest = at - first
    if rest < 1e-9:
        return rotations[first]
    start, end = Rotation.from_matrix(rotations[first]), Rotation.from_matrix(rotations[first + 1])
    return np.asarray((start * Rotation.from_rotvec((start.inv() * end).as_rotvec() * rest)).as_matrix())


def _skeleton(joints: BodyJoints, posed: PosedJoints, rest: Rest, metres: float) -> SourceSkeleton:
    """CMU's bones at rest, as long as the file's."""
    trunk = _length(posed, [joints.pelvis, *joints.spine]) / 3
    neck = _length(posed, [joints.chest, *joints.neck, joints.head]) / 2
    vectors = {"root": np.zeros(3), "lowerback": UP * trunk, "upperback": UP * trunk, "thorax": UP * trunk}
    vectors |= {"upperneck": UP * neck, "head": UP * neck}
    hinges: dict[str, np.ndarray] = {}
    for side in SIDES:
        limb = {name: joints.limbs.get(f"{side}_{name}", -1) for name in WORDS}
        ahead = rest[f"{side}_ankle"] @ posed.offset(limb["ankle"], limb["foot"]) if limb["foot"] >= 0 else np.zeros(3)
        leg, arm = LEGS[side][0], ARMS[side][0]
        own = {
            "hipjoint": rest["pelvis"] @ posed.offset(joints.pelvis, limb["hip"]),
            "femur": leg * _length(posed, [limb["hip"], limb["knee"]]),
            "tibia": leg * _length(posed, [limb["knee"], limb["ankle"]]),
            "foot": ahead if ahead.any() else FORWARD / metres * SHORT,
            "toes": FORWARD / metres * SHORT,
            "clavicle": arm * _length(posed, [joints.chest, limb["shoulder"]]),
            "humerus": arm * _length(posed, [limb["shoulder"], limb["elbow"]]),
            "radius": arm * _length(posed, [limb["elbow"], limb["wrist"]]),
            "wrist": np.zeros(3),
            "hand": arm / metres * SHORT,
        }
        vectors |= {side[0] + bone: vector for bone, vector in own.items()}
        hinges |= {f"{side[0]}tibia": LEGS[side][1], f"{side[0]}radius": ARMS[side][1]}
    names = tuple(bone for bone, _, _ in BONES)
    lengths = np.array([np.linalg.norm(vectors[name]) for name in names]) * metres
    axes = [shortest_rotation(LEFT, hinges.get(name, LEFT)) for name in names]
    return SourceSkeleton(
        name=posed.name,
        names=names,
        parents=tuple(names.index(parent) if parent else -1 for _, parent, _ in BONES),
        directions=np.array(
            [vectors[name] * metres / max(length, 1e-9) for name, length in zip(names, lengths, strict=True)]
        ),
        lengths=lengths,
        axes=np.array(axes),
    )


def _length(posed: PosedJoints, chain: Sequence[int]) -> float:
    """Length of a chain of joints, in the file's units."""
    return sum(float(np.linalg.norm(posed.offset(a, b))) for a, b in pairwise(chain))


def _local(skeleton: SourceSkeleton, world: Mapping[str, np.ndarray]) -> np.ndarray:
    """Rotations of the skeleton's bones in their parents' frames, (frames, bones, 3, 3)."""
    turned = [world[joint] for _, _, joint in BONES]
    local = [turned[0]]
    for bone, parent in enumerate(skeleton.parents[1:], 1):
        local.append(turned[parent].swapaxes(-1, -2) @ turned[bone])
    return np.stack(local, 1)
