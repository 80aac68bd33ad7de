"""A walker made by rule, with AMASS's names: what the suite moves when nobody gave it recorded motion.

Footsteps are planned first; the pelvis follows them as high as both legs reach; hips, knees and ankles are solved
for; spine, arms and head answer the stride. The world is z up, floor at 0; the rest pose is y up, facing z, left x.
"""

from dataclasses import dataclass

import numpy as np
import torch

from ...body import require_gender
from ...errors import SettingError
from ...mannequin.build import mannequin_arrays
from ...rotations import rotmat_to_rotvec
from ...skeleton import AMASS_GENDERS, BODY_NAMES, NUM_BETAS, NUM_BODY_JOINTS
from .footsteps import LEFT, RIGHT, Path, Step, body_path, ease, glide, plan_steps, smooth_curve

_JOINT = {name: index for index, name in enumerate(BODY_NAMES)}
_SIDES = ("left", "right")
_X, _Y, _Z = np.eye(3)
_REST_TO_WORLD = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])  # facing z, y up -> facing x, z up


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
        """Somebody else's: the ones that tell people apart, within 20 %."""
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
        ankles = joints[[_JOINT["left_ankle"], _JOINT["right_ankle"]]]
        heels = [ankle[2] - low[low[:, 0] * ankle[0] > 0, 2].min() for ankle in ankles]
        return cls(joints, float(sole), np.clip(heels, 0.02, 0.1))

    def bone(self, name: str, parent: str) -> np.ndarray:
        """(3,) from one joint to another at rest."""
        return self.joints[_JOINT[name]] - self.joints[_JOINT[parent]]


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


def synthetic_clip(
    seed: int = 0, seconds: float = 12.0, fps: float = 120.0, gender: str = "neutral"
) -> dict[str, np.ndarray]:
    """A person with the embedded body who walks, turns and stands still, as AMASS's arrays by name.

    `poses` (T,156) and `betas` (16,) in float64, radians; `trans` (T,3), metres; `gender` and `mocap_framerate` as
    arrays of one value, as `np.load` gives them. The hands are at rest. The same seed gives the same motion at any
    frame rate. Raises SettingError.
    """
    require_gender(gender)
    for name, value, example in (("seconds", seconds, 12), ("fps", fps, 120)):
        if not (np.isfinite(value) and value > 0):
            raise SettingError(f"{name} is {value:g}, expected a number above 0; try {name}={example}.")
    rng = _generator(seed)
    betas = np.zeros(NUM_BETAS)
    betas[:10] = np.clip(0.7 * rng.standard_normal(10), -1.5, 1.5)
    time = np.arange(max(round(seconds * fps), 1)) / fps
    poses, trans = _pose_walker(Anatomy.of(gender, betas), Style.random(rng), rng, time)
    return {
        "poses": poses,
        "trans": trans,
        "betas": betas,
        "gender": np.array(gender),
        "mocap_framerate": np.array(float(fps)),
    }


def synthetic_clips(n: int, seed: int = 0, seconds: float = 12.0, fps: float = 120.0) -> list[dict[str, np.ndarray]]:
    """Different people on different ways, men and women in turn, as AMASS has them. Raises SettingError."""
    if n < 0:
        raise SettingError(f"n is {n}, expected 0 clips or more; try n=4.")
    seeds = _generator(seed).integers(2**32, size=n)
    return [synthetic_clip(int(s), seconds, fps, AMASS_GENDERS[k % len(AMASS_GENDERS)]) for k, s in enumerate(seeds)]


def _generator(seed: int) -> np.random.Generator:
    if seed < 0:
        raise SettingError(f"seed is {seed}, expected 0 or more; try seed=0.")
    return np.random.default_rng(seed)


def _pose_walker(
    anatomy: Anatomy, style: Style, rng: np.random.Generator, time: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Poses (T,156) and translations (T,3) of a walk planned for these times."""
    # Two generators, so that a longer clip begins with the shorter one.
    sway = np.random.default_rng(rng.integers(2**32))
    steps = plan_steps(rng, time[-1], leg_length=float(-anatomy.bone("left_ankle", "left_hip")[1]))
    path = body_path(steps, sway)

    def feet_and_trunk(at: np.ndarray) -> tuple[list[Foot], Trunk]:
        feet = [_foot(anatomy, style, steps, side, at) for side in (LEFT, RIGHT)]
        return feet, _trunk(anatomy, style, path, feet, at)

    # The height is planned on its own grid, so that it does not depend on the frame rate.
    grid = np.arange(-0.5, time[-1] + 0.5, 0.005)
    reach = _highest_root(anatomy, style, *feet_and_trunk(grid))
    feet, trunk = feet_and_trunk(time)
    trunk.position[:, 2] = _height(grid, reach, time)
    rotvecs = _upper_body(style, trunk)
    _solve_legs(anatomy, trunk, feet, rotvecs)
    poses = np.zeros((len(time), 156))
    poses[:, : 3 * NUM_BODY_JOINTS] = rotvecs.reshape(len(time), -1)
    return poses, trunk.position - anatomy.joints[0]


def _foot(anatomy: Anatomy, style: Style, steps: list[Step], side: int, at: np.ndarray) -> Foot:
    """One foot: fixed while it stands, rolling over its toes, through the air, down on its heel."""
    own = [step for step in steps if step.foot == side]
    toe_off, strike = (np.array([getattr(step, key) for step in own]) for key in ("toe_off", "strike"))
    places, headings = np.array([step.place for step in own]), np.array([step.heading for step in own])
    roll = _heel_rise(toe_off, strike)
    k = np.clip(np.searchsorted(roll, at, side="right") - 1, 1, len(own) - 1)
    share = np.clip((at - toe_off[k]) / (strike[k] - toe_off[k]), 0, 1)
    moved = glide(share)
    way = places[k] - places[k - 1]
    swing = 64 * (share * (1 - share)) ** 3
    # In a bend the foot keeps to its arc: a straight line would cut through the leg that stands.
    aside = swing * (headings[k] - headings[k - 1]) / 8
    place = places[k - 1] + moved[:, None] * way + aside[:, None] * np.column_stack([way[:, 1], -way[:, 0]])
    yaw = headings[k - 1] + moved * (headings[k] - headings[k - 1])
    pitch = _pitch(style, toe_off, strike, np.linalg.norm(np.diff(places, axis=0), axis=1), at)
    # In the frame of the flat foot, under the ankle: what it turns about moves from the ball to the heel in the air.
    ball, ankle = anatomy.bone(f"{_SIDES[side]}_foot", f"{_SIDES[side]}_ankle"), np.zeros(3)
    ankle[1] = anatomy.joints[_JOINT[f"{_SIDES[side]}_ankle"], 1] - anatomy.sole
    pivot = ankle + ball + ease((share - 0.25) / 0.75)[:, None] * (-anatomy.heels[side] * _Z - ankle - ball)
    tilt, flat = _turns(_X, pitch), _turns(_Z, yaw) @ _REST_TO_WORLD
    local = pivot + (tilt @ (ankle - pivot)[..., None])[..., 0]
    world = (flat @ local[..., None])[..., 0] + np.column_stack([place, style.clearance * swing])
    # Released slowly enough that the toes, pointing down, clear the floor.
    return Foot(world, flat @ tilt, pitch * (1 - ease(share / 0.9)), swing, place)


def _heel_rise(toe_off: np.ndarray, strike: np.ndarray) -> np.ndarray:
    """When the heel leaves the floor before each swing, seconds; a swing lasts 0.8 of a step, a stance 1.2."""
    return toe_off - 0.8 * (strike - toe_off)


def _pitch(style: Style, toe_off: np.ndarray, strike: np.ndarray, lengths: np.ndarray, at: np.ndarray) -> np.ndarray:
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


def _trunk(anatomy: Anatomy, style: Style, path: Path, feet: list[Foot], at: np.ndarray) -> Trunk:
    """The pelvis above its path, height left at 0: turned with the stride, dropped on the swinging side."""
    heading = smooth_curve(path.times, path.headings, at)
    forward = np.column_stack([np.cos(heading), np.sin(heading)])
    stride = ((feet[LEFT].place - feet[RIGHT].place) * forward).sum(1)
    sway = feet[LEFT].swing - feet[RIGHT].swing
    ankles = 0.5 * (anatomy.bone("left_ankle", "pelvis") + anatomy.bone("right_ankle", "pelvis"))
    centre = smooth_curve(path.times, path.centres, at) - ankles[2] * forward
    turn = _turns(_Z, heading - style.pelvis_yaw * stride) @ _turns(_X, -style.pelvis_drop * sway)
    gaze = 0.5 * (smooth_curve(path.times, path.headings, np.minimum(at + 0.35, path.times[-1])) - heading)
    position = np.column_stack([centre, np.zeros(len(at))])
    return Trunk(position, turn @ _turns(_Y, np.full(len(at), style.lean)) @ _REST_TO_WORLD, stride, sway, gaze)


def _highest_root(anatomy: Anatomy, style: Style, feet: list[Foot], trunk: Trunk) -> np.ndarray:
    """(T,) root heights at which the legs are as long as they get, metres."""
    heights = []
    for side, foot in zip(_SIDES, feet, strict=True):
        hip = trunk.rotmat @ anatomy.bone(f"{side}_hip", "pelvis")
        straight, _ = _leg(anatomy, side)
        across = np.linalg.norm(foot.ankle[:, :2] - trunk.position[:, :2] - hip[:, :2], axis=1)
        up = np.sqrt(np.maximum((style.leg_extension * straight) ** 2 - across**2, 0.01))
        heights.append(foot.ankle[:, 2] - hip[:, 2] + up)
    return np.minimum(*heights)


def _height(grid: np.ndarray, reach: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Smooth height never above reach: each knot takes the least within the reach of its spline piece."""
    every = 10  # a knot each 0.05 s: fine enough to rise in mid-stance, coarse enough to round the dips
    half = 2 * every  # grid points that a piece of the spline depends on, to either side
    padded = np.pad(reach, half, mode="edge")
    least = np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1).min(1)
    return smooth_curve(grid[::every], least[::every], at)


def _leg(anatomy: Anatomy, side: str) -> tuple[float, float]:
    """Longest hip-to-ankle distance that the knee's hinge allows, and the knee angle there."""
    thigh, shank = anatomy.bone(f"{side}_knee", f"{side}_hip"), anatomy.bone(f"{side}_ankle", f"{side}_knee")
    in_plane = np.hypot(*thigh[1:]) * np.hypot(*shank[1:])
    angle = np.arctan2(thigh[2], thigh[1]) - np.arctan2(shank[2], shank[1])
    squared = thigh @ thigh + shank @ shank + 2 * (thigh[0] * shank[0] + in_plane)
    return float(np.sqrt(squared)), float((angle + np.pi) % (2 * np.pi) - np.pi)


def _solve_legs(anatomy: Anatomy, trunk: Trunk, feet: list[Foot], rotvecs: np.ndarray) -> None:
    """Fill in hips, knees and ankles: the knee is a hinge that opens as far as the ankle is away, then the hip aims."""
    for side, foot in zip(_SIDES, feet, strict=True):
        thigh, shank = anatomy.bone(f"{side}_knee", f"{side}_hip"), anatomy.bone(f"{side}_ankle", f"{side}_knee")
        straight, straight_angle = _leg(anatomy, side)
        hip = trunk.position + trunk.rotmat @ anatomy.bone(f"{side}_hip", "pelvis")
        line = foot.ankle - hip
        in_plane = np.hypot(*thigh[1:]) * np.hypot(*shank[1:])
        short = 0.5 * (straight**2 - (line**2).sum(1)) / in_plane
        bend = straight_angle + np.arccos(np.clip(1 - short, -1, 1))
        knee = _turns(_X, bend)
        # The knee points half-way between the pelvis and the toes.
        across = trunk.rotmat[..., 0] + foot.rotmat[..., 0]
        hip_turn = _frames(line, across) @ _frames(thigh + knee @ shank, np.broadcast_to(_X, line.shape)).mT
        rotvecs[:, _JOINT[f"{side}_hip"]] = _rotvecs(trunk.rotmat.mT @ hip_turn)
        rotvecs[:, _JOINT[f"{side}_knee"], 0] = bend
        rotvecs[:, _JOINT[f"{side}_ankle"]] = _rotvecs((hip_turn @ knee).mT @ foot.rotmat)
        rotvecs[:, _JOINT[f"{side}_foot"], 0] = -foot.toe_bend


def _upper_body(style: Style, trunk: Trunk) -> np.ndarray:
    """(T, 22, 3) rotation vectors with the root, spine, head and arms filled in."""
    rotvecs = np.zeros((len(trunk.stride), NUM_BODY_JOINTS, 3))
    rotvecs[:, 0] = _rotvecs(trunk.rotmat)
    chest_yaw = (style.chest_yaw + style.pelvis_yaw) * trunk.stride
    for name in ("spine1", "spine2", "spine3"):
        rotvecs[:, _JOINT[name], 1] = chest_yaw / 3
        rotvecs[:, _JOINT[name], 2] = 1.2 * style.pelvis_drop * trunk.sway / 3
    for name in ("neck", "head"):
        rotvecs[:, _JOINT[name], 0] = -0.5 * style.lean
        rotvecs[:, _JOINT[name], 1] = 0.5 * (trunk.gaze - style.chest_yaw * trunk.stride)
        rotvecs[:, _JOINT[name], 2] = -0.1 * style.pelvis_drop * trunk.sway
    for side, sign in (("left", 1), ("right", -1)):
        back = style.arm_swing * sign * trunk.stride  # the arm is behind while its own leg is in front
        drop = np.full_like(back, -sign * style.arm_drop)
        rotvecs[:, _JOINT[f"{side}_collar"], 1] = 0.15 * style.chest_yaw * trunk.stride
        rotvecs[:, _JOINT[f"{side}_collar"], 2] = -sign * 0.1
        rotvecs[:, _JOINT[f"{side}_shoulder"]] = _rotvecs(_turns(_X, back) @ _turns(_Z, drop))
        rotvecs[:, _JOINT[f"{side}_elbow"], 1] = -sign * (style.elbow - style.elbow_swing * sign * trunk.stride)
    return rotvecs


def _turns(axis: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """(T, 3, 3) rotations about one axis."""
    cross = np.cross(np.eye(3), axis)
    return np.eye(3) + np.sin(angles)[:, None, None] * cross + (1 - np.cos(angles))[:, None, None] * (cross @ cross)


def _frames(main: np.ndarray, side: np.ndarray) -> np.ndarray:
    """(T, 3, 3) axes: along the first direction, along the second as far as it is square to that, and the third."""
    main = main / np.linalg.norm(main, axis=-1, keepdims=True)
    side = side - (side * main).sum(-1, keepdims=True) * main
    side = side / np.linalg.norm(side, axis=-1, keepdims=True)
    return np.stack([main, side, np.cross(main, side)], -1)


def _rotvecs(rotmats: np.ndarray) -> np.ndarray:
    return rotmat_to_rotvec(torch.from_numpy(rotmats)).numpy()
