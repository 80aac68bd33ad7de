"""Retarget captured motion to an SMPL body: limbs keep their directions in space, and feet stay on the floor.

Both skeletons face +z at rest with y up and arms out, CMU's with the legs apart and other axes for the elbows. An SMPL
joint gets the world rotation of its source bone, from rest to pose, after a fixed rotation from the SMPL bone at rest
to the source's bone at rest. So a posed limb points exactly where its source does, whatever the lengths of the two.

Bones have CMU's names; an importer of other files maps its names to them.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from ..body import BodyModel
from ..errors import MotionError
from ..rotations import Y_UP_TO_Z_UP
from ..skeleton import BODY, BODY_NAMES, NUM_BETAS
from .bone_axes import axes_along, shortest_rotation
from .source_motion import SourceMotion, SourceSkeleton, world_joints, world_rotations

# SMPL joint: the source bone that it rotates with. Those of a side stand for both: "left_hip" and "lfemur", and so on.
# The source has three bones above the chest; by their height above the hips, the SMPL neck's is the second.
TRUNK = {
    "pelvis": "root", "spine1": "lowerback", "spine2": "upperback", "spine3": "thorax", "neck": "upperneck",
    "head": "head",
}  # fmt: skip
SIDE = {
    "collar": "clavicle", "shoulder": "humerus", "elbow": "radius", "wrist": "hand", "hip": "femur", "knee": "tibia",
    "ankle": "foot", "foot": "toes",
}  # fmt: skip
SIDES = {"left": "l", "right": "r"}
# Joint at the limb's end, and the source bones between the two ends.
LIMBS = {"hip": ("knee", ("femur",)), "knee": ("ankle", ("tibia",)), "shoulder": ("elbow", ("humerus",)),
         "elbow": ("wrist", ("radius", "wrist"))}  # fmt: skip
# The bone whose x axis is the hinge, and the axes about which the SMPL joints bend the same way (left, right).
HINGES = {"leg": ("tibia", (1, 0, 0), (1, 0, 0)), "arm": ("radius", (0, -1, 0), (0, 1, 0))}
LENGTH_ERROR = 0.01  # metres: error of a limb's length that weighs as much as one standard deviation of shape
MAX_BETA = 3.0
MAX_RESTING_SPEED = 0.3  # metres a second: a slower foot carries weight, or hangs
GROUND_PERCENTILE = 5.0  # of the resting feet's heights: lower ones are noise
GROUND_SCATTER = 0.03  # metres: heights of feet at rest on one ground differ by less
MIN_FLAT_SHARE = 0.8  # share of the resting feet that must lie on one plane before a room is levelled
MAX_SLOPE = 0.03  # 1.7 degrees; a steeper ground is a ramp
MIN_SPREAD = 0.2  # metres, standard deviation: steps that spread less show the feet, not the slope of the room


@dataclass(frozen=True, eq=False)
class RetargetedMotion:
    """A motion as AMASS stores it, z up, soles on z = 0; rotation vectors in radians, metres."""

    poses: Float[np.ndarray, "frames 156"]  # root, 21 joints, hands at rest
    trans: Float[np.ndarray, "frames 3"]
    betas: Float[np.ndarray, "16"]  # of the body that was given


def retarget(skeleton: SourceSkeleton, motion: SourceMotion, body: BodyModel, fps: float = 120.0) -> RetargetedMotion:
    """Pose the body as the source skeleton moves; `fps` only decides which feet are at rest.

    Raises MotionError where the skeleton has other bones than CMU's.
    """
    _require_bones(skeleton)
    if len(motion) < 2:
        raise MotionError(f"{skeleton.name}: a motion of {len(motion)} frame; expected two or more, leave it out.")
    betas = fit_betas(skeleton, body)
    rest = _rest_joints(body, betas[None])[0]
    world = world_rotations(skeleton, motion)
    rotations = _joint_rotations(skeleton, world, rest)
    pelvis = _pelvis(skeleton, motion, rotations[:, 0], rest)
    level, height = _floor(body, betas, rest, rotations, pelvis, fps)
    z_up = np.array(Y_UP_TO_Z_UP)
    rotations = z_up @ level @ rotations
    pelvis = (pelvis @ level.T - [0, height, 0]) @ z_up.T
    parents = np.array(BODY.parents[1:])
    local = np.concatenate([rotations[:, :1], rotations[:, parents].swapaxes(-1, -2) @ rotations[:, 1:]], 1)
    rotvecs = Rotation.from_matrix(local.reshape(-1, 3, 3)).as_rotvec().reshape(len(motion), -1)
    poses = np.concatenate([rotvecs, np.zeros((len(motion), 90))], 1)
    return RetargetedMotion(poses, pelvis - rest[0], betas)


def fit_betas(skeleton: SourceSkeleton, body: BodyModel) -> Float[np.ndarray, "16"]:
    """Likely betas, each within 3, whose thighs, shins, upper arms and forearms are as long as the source's."""
    mean = _rest_joints(body, np.zeros((1, NUM_BETAS)))[0]
    change = _rest_joints(body, np.eye(NUM_BETAS)) - mean
    pairs = [(_joint(side, end), _joint(side, start)) for side in SIDES for start, (end, _) in LIMBS.items()]
    ends, starts = np.array(pairs).T
    wanted = np.array([_length(skeleton, SIDES[side], bones) for side in SIDES for _, bones in LIMBS.values()])

    def misfit(betas: np.ndarray) -> np.ndarray:
        joints = mean + np.tensordot(betas, change, 1)
        lengths = np.linalg.norm(joints[ends] - joints[starts], axis=-1)
        return np.concatenate([(lengths - wanted) / LENGTH_ERROR, betas])

    return np.asarray(least_squares(misfit, np.zeros(NUM_BETAS), bounds=(-MAX_BETA, MAX_BETA)).x)


def _require_bones(skeleton: SourceSkeleton) -> None:
    wanted = [*TRUNK.values(), *(side + bone for side in "lr" for bone in (*SIDE.values(), "wrist", "hipjoint"))]
    for bone in wanted:
        if bone not in skeleton.names:
            raise MotionError(
                f'{skeleton.name}: no bone named "{bone}"; expected the bones of CMU\'s skeletons, other skeletons '
                "cannot be imported."
            )


def _joint_rotations(skeleton: SourceSkeleton, world: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """World rotation of the 22 joints from the SMPL rest pose, (frames, 22, 3, 3), y up."""
    rotations = np.empty((len(world), len(BODY), 3, 3))
    for joint, bone in TRUNK.items():  # both trunks are upright at rest, so nothing lies between them
        rotations[:, BODY_NAMES.index(joint)] = world[:, skeleton.index(bone)]
    for number, (side, letter) in enumerate(SIDES.items()):
        offsets = _offsets(skeleton, rest, number, side, letter)
        for joint, bone in SIDE.items():
            rotations[:, _joint(side, joint)] = world[:, skeleton.index(letter + bone)] @ offsets[joint]
    return rotations


def _offsets(skeleton: SourceSkeleton, rest: np.ndarray, number: int, side: str, letter: str) -> dict[str, np.ndarray]:
    """For each joint of a side, the rotation from the SMPL rest pose to the source's."""
    offsets = {"collar": np.eye(3)}  # the source's collar bone starts at the neck, so its direction says nothing
    for limb, joints in (("leg", ("hip", "knee")), ("arm", ("shoulder", "elbow"))):
        hinge_bone, *axes = HINGES[limb]
        hinge = skeleton.axes[skeleton.index(letter + hinge_bone)][:, 0]
        for joint in joints:
            ours = rest[_joint(side, LIMBS[joint][0])] - rest[_joint(side, joint)]
            theirs = skeleton.directions[skeleton.index(letter + SIDE[joint])]
            where = f'{skeleton.name}: bone "{letter}{SIDE[joint]}"'
            offsets[joint] = _frame(theirs, hinge, where) @ _frame(ours, np.array(axes[number]), where).T
    # Both hands lie palm down and straight on at rest: they take the forearm's direction, not its elbow's axis.
    forearm = rest[_joint(side, "wrist")] - rest[_joint(side, "elbow")]
    offsets["wrist"] = shortest_rotation(forearm, skeleton.directions[skeleton.index(letter + "radius")])
    # Both feet are flat when the leg is upright. The source's foot leans with its leg; toes are rotated to point alike.
    lean = shortest_rotation(np.array([0.0, -1, 0]), skeleton.directions[skeleton.index(letter + "tibia")])
    ours = rest[_joint(side, "foot")] - rest[_joint(side, "ankle")]
    theirs = lean.T @ skeleton.directions[skeleton.index(letter + "foot")]
    heading = np.arctan2(theirs[0], theirs[2]) - np.arctan2(ours[0], ours[2])
    offsets["ankle"] = offsets["foot"] = lean @ Rotation.from_rotvec([0, heading, 0]).as_matrix()
    return offsets


def _frame(along: np.ndarray, hinge: np.ndarray, where: str) -> np.ndarray:
    axes = axes_along(along, hinge)
    if axes is None:
        raise MotionError(f"{where} has no length or a hinge along itself; expected CMU's bones, correct it.")
    return axes


def _pelvis(skeleton: SourceSkeleton, motion: SourceMotion, rotations: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """Position of the pelvis joint, (frames, 3), y up, with the floor still at the source's height.

    The middle between the hips follows the source's, scaled by the length of the legs: the source's root lies
    further back than the pelvis joint, and with it the feet would slide.
    """
    joints = world_joints(skeleton, motion)
    hips = 0.5 * sum(joints[:, skeleton.index(side + "hipjoint")] for side in "lr")
    ours = sum(
        np.linalg.norm(rest[_joint(side, LIMBS[joint][0])] - rest[_joint(side, joint)])
        for side in SIDES for joint in ("hip", "knee")
    )  # fmt: skip
    theirs = sum(_length(skeleton, side, ("femur", "tibia")) for side in "lr")
    if not 0.25 < ours / max(theirs, 1e-9) < 4:
        raise MotionError(
            f"{skeleton.name}: legs of {theirs / 2:.3g} m; expected a person's (0.5 to 1.2 m), correct the length unit."
        )
    middle = 0.5 * (rest[_joint("left", "hip")] + rest[_joint("right", "hip")])
    return hips * (ours / theirs) - rotations @ (middle - rest[0])


def _floor(
    body: BodyModel, betas: np.ndarray, rest: np.ndarray, rotations: np.ndarray, pelvis: np.ndarray, fps: float
) -> tuple[np.ndarray, float]:
    """One rotation that levels the ground of the clip, and the height of it after that, y up.

    Ground is where the balls of the feet rest. The tips of the toes would not do: the source's dip below the floor at
    every push-off.
    """
    sole = _sole(body, betas)
    steps = np.stack([_ball(side, sole, rest, rotations, pelvis) for side in SIDES])
    speed = np.linalg.norm(np.diff(steps, axis=1, append=2 * steps[:, -1:] - steps[:, -2:-1]), axis=-1) * fps
    resting = speed < MAX_RESTING_SPEED
    points = steps[resting] if resting.any() else steps.reshape(-1, 3)
    slope, near = _slope(points)
    level = shortest_rotation(np.array([-slope[0], 1, -slope[1]]), np.array([0.0, 1, 0]))
    heights = points @ level[1]
    if near.mean() < MIN_FLAT_SHARE:
        near = np.abs(heights - np.percentile(heights, GROUND_PERCENTILE, method="nearest")) < GROUND_SCATTER
    return level, float(np.median(heights[near]))


def _slope(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Slope of the ground to +x and to +z, and which points lie on it; zero where no plane fits most of them.

    Many of the database's rooms are tilted by about a degree, which turns a walk into a climb.
    """
    heights = points[:, 1]
    flat = np.concatenate([np.ones((len(points), 1)), points[:, [0, 2]] - points[:, [0, 2]].mean(0)], 1)
    level = np.diag([0.0, 1, 1]) * MIN_SPREAD**2
    near = np.abs(heights - np.percentile(heights, GROUND_PERCENTILE, method="nearest")) < GROUND_SCATTER
    for _ in range(20):  # from the lowest ground outwards
        plane = np.linalg.solve(flat[near].T @ flat[near] + near.sum() * level, flat[near].T @ heights[near])
        was, near = near, np.abs(heights - flat @ plane) < GROUND_SCATTER
        if (was == near).all() or not near.any():
            break
    if near.mean() < MIN_FLAT_SHARE or np.abs(plane[1:]).max() > MAX_SLOPE:
        return np.zeros(2), np.zeros(len(points), bool)
    return plane[1:], near


def _ball(side: str, sole: float, rest: np.ndarray, rotations: np.ndarray, pelvis: np.ndarray) -> np.ndarray:
    """Position of the skin below the toe joint, (frames, 3), y up."""
    place, parent = pelvis, 0
    for joint in (_joint(side, name) for name in ("hip", "knee", "ankle", "foot")):
        place = place + rotations[:, parent] @ (rest[joint] - rest[parent])
        parent = joint
    return np.asarray(place + rotations[:, parent] @ np.array([0, sole - rest[parent][1], 0]))


def _sole(body: BodyModel, betas: np.ndarray) -> float:
    """Height of the skin's lowest point in the rest pose."""
    upright = torch.eye(3).expand(1, len(BODY), 3, 3)
    with torch.no_grad():
        skin = body(upright, torch.as_tensor(betas)[None].float(), torch.zeros(1, 3), vertices="all").vertices
    assert skin is not None
    return float(skin[..., 1].min())


def _rest_joints(body: BodyModel, betas: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return np.asarray(body.rest_joints(torch.as_tensor(betas, dtype=torch.float32)).double())


def _joint(side: str, joint: str) -> int:
    return BODY_NAMES.index(f"{side}_{joint}")


def _length(skeleton: SourceSkeleton, side: str, bones: tuple[str, ...]) -> float:
    return float(sum(skeleton.lengths[skeleton.index(side + bone)] for bone in bones))
