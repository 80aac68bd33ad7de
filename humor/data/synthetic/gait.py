"""How a synthetic walker's feet and pelvis move: over planned footsteps, in a style, with a body's bones.

World frame, z up, floor at 0, metres and radians; the rest pose is y up, facing z, left x.
"""

from dataclasses import dataclass

import numpy as np

from ...mannequin import mannequin_arrays
from ...skeleton import BODY_NAMES, NUM_BETAS, NUM_BODY_JOINTS
from .footsteps import LEFT, RIGHT, Path, Step, ease, glide, smooth_curve

JOINT = {name: index for index, name in enumerate(BODY_NAMES)}
SIDES = ("left", "right")
X, Y, Z = np.eye(3)
REST_TO_WORLD = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])  # facing z, y up -> facing x, z up


@dataclass(frozen=True)
class Style:
    """How one person walks; angles in radians, lengths in metres. The stride is left foot minus right, forward."""

    toe_off_pitch: float = 1.1  # heel over toes as the foot leaves
    strike_pitch: float = 0.33  # toes over heel as it lands
    clearance: float = 0.055
    leg_extension: float = 0.996  # of a straight leg, at most
    pelvis_yaw: float = 0.11  # for each metre of stride
    pelvis_drop: float = 0.06  # on the side of the swinging leg
    chest_yaw: float = 0.14  # for each metre of stride, against the pelvis
    lean: float = 0.04
    arm_drop: float = 1.22  # from the T pose
    arm_swing: float = 0.55  # for each metre of stride
    elbow: float = 0.4
    elbow_swing: float = 0.35  # for each metre of stride

    @classmethod
    def random(cls, rng: np.random.Generator) -> "Style":
        """Another person's: what people differ in varies by up to 20 %."""
        varied = ("clearance", "pelvis_yaw", "pelvis_drop", "arm_swing", "elbow", "elbow_swing")
        return cls(**{name: getattr(cls, name) * rng.uniform(0.8, 1.2) for name in varied})


@dataclass(frozen=True)
class Anatomy:
    """What the gait needs of a body at rest, metres."""

    joints: np.ndarray  # (22, 3)
    sole: float  # height of its lowest point
    heels: np.ndarray  # (2,) how far the heel is behind the ankle, left and right

    @classmethod
    def of(cls, gender: str, betas: np.ndarray) -> "Anatomy":
        """Rest joints and soles of the embedded body."""
        # From its arrays: building the model takes ten times as long as the whole motion.
        body = mannequin_arrays(gender)
        vertices = body["v_template"] + body["shapedirs"][..., :NUM_BETAS] @ betas
        joints = body["J_regressor"][:NUM_BODY_JOINTS] @ vertices
        sole = vertices[:, 1].min()
        low = vertices[vertices[:, 1] < sole + 0.03]
        ankles = joints[[JOINT["left_ankle"], JOINT["right_ankle"]]]
        heels = [ankle[2] - low[low[:, 0] * ankle[0] > 0, 2].min() for ankle in ankles]
        return cls(joints, float(sole), np.clip(heels, 0.02, 0.1))

    def bone(self, name: str, parent: str) -> np.ndarray:
        """(3,) from one joint to another at rest."""
        return self.joints[JOINT[name]] - self.joints[JOINT[parent]]


@dataclass(frozen=True)
class Foot:
    """One foot over time, world frame."""

    ankle: np.ndarray  # (T, 3) metres
    rotmat: np.ndarray  # (T, 3, 3)
    toe_bend: np.ndarray  # (T,) radians that keep the toes flat while the heel is up
    swing: np.ndarray  # (T,) 0 on the floor to 1 half-way through the air
    place: np.ndarray  # (T, 2) where it stands, or is on its way


@dataclass(frozen=True)
class Trunk:
    """The pelvis over time, world frame."""

    position: np.ndarray  # (T, 3) of the root joint, metres
    rotmat: np.ndarray  # (T, 3, 3)
    stride: np.ndarray  # (T,) left foot minus right, forward, metres
    sway: np.ndarray  # (T,) 1 where the left leg swings, -1 where the right one does
    gaze: np.ndarray  # (T,) radians that the head looks to the left, into the bend


def foot_motion(anatomy: Anatomy, style: Style, steps: list[Step], side: int, at: np.ndarray) -> Foot:
    """One foot: fixed while it stands, rolling over its toes, through the air, down on its heel."""
    steps = [step for step in steps if step.foot == side]
    toe_off, strike = (np.array([getattr(step, key) for step in steps]) for key in ("toe_off", "strike"))
    places, headings = np.array([step.place for step in steps]), np.array([step.heading for step in steps])
    roll = _heel_rise(toe_off, strike)
    k = np.clip(np.searchsorted(roll, at, side="right") - 1, 1, len(steps) - 1)
    share = np.clip((at - toe_off[k]) / (strike[k] - toe_off[k]), 0, 1)
    moved = glide(share)
    way = places[k] - places[k - 1]
    swing = 64 * (share * (1 - share)) ** 3
    # In a bend the foot keeps to its arc: a straight line would cut through the leg that stands.
    aside = swing * (headings[k] - headings[k - 1]) / 8
    place = places[k - 1] + moved[:, None] * way + aside[:, None] * np.column_stack([way[:, 1], -way[:, 0]])
    yaw = headings[k - 1] + moved * (headings[k] - headings[k - 1])
    pitch = _foot_pitch(style, toe_off, strike, np.linalg.norm(np.diff(places, axis=0), axis=1), at)
    # In the frame of the flat foot, under the ankle: what it turns about moves from the ball to the heel in the air.
    ball, ankle = anatomy.bone(f"{SIDES[side]}_foot", f"{SIDES[side]}_ankle"), np.zeros(3)
    ankle[1] = anatomy.joints[JOINT[f"{SIDES[side]}_ankle"], 1] - anatomy.sole
    pivot = ankle + ball + ease((share - 0.25) / 0.75)[:, None] * (-anatomy.heels[side] * Z - ankle - ball)
    tilt, flat = rotations_about(X, pitch), rotations_about(Z, yaw) @ REST_TO_WORLD
    local = pivot + (tilt @ (ankle - pivot)[..., None])[..., 0]
    world = (flat @ local[..., None])[..., 0] + np.column_stack([place, style.clearance * swing])
    # Released slowly enough that the toes, pointing down, clear the floor.
    return Foot(world, flat @ tilt, pitch * (1 - ease(share / 0.9)), swing, place)


def _heel_rise(toe_off: np.ndarray, strike: np.ndarray) -> np.ndarray:
    """When the heel leaves the floor before each swing, seconds; a swing lasts 0.8 of a step, a stance 1.2."""
    return toe_off - 0.8 * (strike - toe_off)


def _foot_pitch(
    style: Style, toe_off: np.ndarray, strike: np.ndarray, lengths: np.ndarray, at: np.ndarray
) -> np.ndarray:
    """Heel-up angle of a foot: 0 flat, growing until toe-off, negative at the strike; short steps roll less."""
    swing = (strike - toe_off)[1:]
    vigour = np.clip(lengths / 1.2, 0.25, 1.0)
    up, down, none = style.toe_off_pitch * vigour, -style.strike_pitch * vigour, np.zeros_like(swing)
    start, rise = toe_off[1:], (toe_off - _heel_rise(toe_off, strike))[1:]
    keys = (  # seconds, radians, radians a second; no acceleration
        (start - rise, none, none),
        (start, 0.9 * up, 1.6 * up),
        (start + 0.12 * swing, up, none),
        (start + 0.75 * swing, 0.75 * down, none),
        (start + swing, down, none),
        (start + 1.25 * swing, none, none),
    )
    times, values, slopes = (np.stack(column, 1).ravel() for column in zip(*keys, strict=True))
    k = np.clip(np.searchsorted(times, at, side="right") - 1, 0, len(times) - 2)
    width = times[k + 1] - times[k]
    share = np.clip((at - times[k]) / width, 0, 1)
    rest = 1 - share
    # Quintic Hermite in Bernstein form: equal neighbours of the ends give the slopes and no acceleration there.
    first, last = values[k], values[k + 1]
    lead, trail = slopes[k] * width / 5, slopes[k + 1] * width / 5
    return (
        rest**5 * first + 5 * rest**4 * share * (first + lead) + 10 * rest**3 * share**2 * (first + 2 * lead)
        + 10 * rest**2 * share**3 * (last - 2 * trail) + 5 * rest * share**4 * (last - trail) + share**5 * last
    )  # fmt: skip


def trunk_motion(anatomy: Anatomy, style: Style, path: Path, feet: list[Foot], at: np.ndarray) -> Trunk:
    """The pelvis above its path, height left at 0: turned with the stride, dropped on the swinging side."""
    heading = smooth_curve(path.times, path.headings, at)
    forward = np.column_stack([np.cos(heading), np.sin(heading)])
    stride = ((feet[LEFT].place - feet[RIGHT].place) * forward).sum(1)
    sway = feet[LEFT].swing - feet[RIGHT].swing
    ankles = 0.5 * (anatomy.bone("left_ankle", "pelvis") + anatomy.bone("right_ankle", "pelvis"))
    centre = smooth_curve(path.times, path.centres, at) - ankles[2] * forward
    turn = rotations_about(Z, heading - style.pelvis_yaw * stride) @ rotations_about(X, -style.pelvis_drop * sway)
    gaze = 0.5 * (smooth_curve(path.times, path.headings, np.minimum(at + 0.35, path.times[-1])) - heading)
    position = np.column_stack([centre, np.zeros(len(at))])
    return Trunk(position, turn @ rotations_about(Y, np.full(len(at), style.lean)) @ REST_TO_WORLD, stride, sway, gaze)


def highest_root(anatomy: Anatomy, style: Style, feet: list[Foot], trunk: Trunk) -> np.ndarray:
    """(T,) root heights at which the legs are as long as they get, metres."""
    heights = []
    for side, foot in zip(SIDES, feet, strict=True):
        hip = trunk.rotmat @ anatomy.bone(f"{side}_hip", "pelvis")
        straight, _ = leg_reach(anatomy, side)
        across = np.linalg.norm(foot.ankle[:, :2] - trunk.position[:, :2] - hip[:, :2], axis=1)
        up = np.sqrt(np.maximum((style.leg_extension * straight) ** 2 - across**2, 0.01))
        heights.append(foot.ankle[:, 2] - hip[:, 2] + up)
    return np.minimum(*heights)


def smooth_height(grid: np.ndarray, reach: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Smooth height never above reach: each knot takes the least within the reach of its spline piece."""
    every = 10  # a knot each 0.05 s: fine enough to rise in mid-stance, coarse enough to round the dips
    half = 2 * every  # grid points that a piece of the spline depends on, to either side
    padded = np.pad(reach, half, mode="edge")
    least = np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1).min(1)
    return smooth_curve(grid[::every], least[::every], at)


def leg_reach(anatomy: Anatomy, side: str) -> tuple[float, float]:
    """Longest hip-to-ankle distance that the knee's hinge allows, and the knee angle there."""
    thigh, shank = anatomy.bone(f"{side}_knee", f"{side}_hip"), anatomy.bone(f"{side}_ankle", f"{side}_knee")
    in_plane = np.hypot(*thigh[1:]) * np.hypot(*shank[1:])
    angle = np.arctan2(thigh[2], thigh[1]) - np.arctan2(shank[2], shank[1])
    squared = thigh @ thigh + shank @ shank + 2 * (thigh[0] * shank[0] + in_plane)
    return float(np.sqrt(squared)), float((angle + np.pi) % (2 * np.pi) - np.pi)


def rotations_about(axis: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """(T, 3, 3) rotations about one axis."""
    cross = np.cross(np.eye(3), axis)
    return np.eye(3) + np.sin(angles)[:, None, None] * cross + (1 - np.cos(angles))[:, None, None] * (cross @ cross)
