"""A procedural walker, as the arrays of an AMASS file: the default motion where no recording is given.

Footsteps are planned first; the pelvis follows them as high as both legs reach; hips, knees and ankles are solved by
inverse kinematics; spine, arms and head follow the stride.
"""

import numpy as np
import torch

from ...body import require_gender
from ...errors import SettingError
from ...rotations import rotmat_to_rotvec
from ...skeleton import AMASS_GENDERS, NUM_BETAS, NUM_BODY_JOINTS
from .footsteps import LEFT, RIGHT, body_path, plan_steps
from .gait import (
    JOINT,
    SIDES,
    Anatomy,
    Foot,
    Style,
    Trunk,
    X,
    Z,
    foot_motion,
    highest_root,
    leg_reach,
    rotations_about,
    smooth_height,
    trunk_motion,
)


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
        feet = [foot_motion(anatomy, style, steps, side, at) for side in (LEFT, RIGHT)]
        return feet, trunk_motion(anatomy, style, path, feet, at)

    # The height is planned on its own grid, so that it does not depend on the frame rate.
    grid = np.arange(-0.5, time[-1] + 0.5, 0.005)
    reach = highest_root(anatomy, style, *feet_and_trunk(grid))
    feet, trunk = feet_and_trunk(time)
    trunk.position[:, 2] = smooth_height(grid, reach, time)
    rotvecs = _upper_body(style, trunk)
    _solve_legs(anatomy, trunk, feet, rotvecs)
    poses = np.zeros((len(time), 156))
    poses[:, : 3 * NUM_BODY_JOINTS] = rotvecs.reshape(len(time), -1)
    return poses, trunk.position - anatomy.joints[0]


def _solve_legs(anatomy: Anatomy, trunk: Trunk, feet: list[Foot], rotvecs: np.ndarray) -> None:
    """Fill in hips, knees and ankles: the knee is a hinge that opens as far as the ankle is away, then the hip aims."""
    for side, foot in zip(SIDES, feet, strict=True):
        thigh, shank = anatomy.bone(f"{side}_knee", f"{side}_hip"), anatomy.bone(f"{side}_ankle", f"{side}_knee")
        straight, straight_angle = leg_reach(anatomy, side)
        hip = trunk.position + trunk.rotmat @ anatomy.bone(f"{side}_hip", "pelvis")
        line = foot.ankle - hip
        in_plane = np.hypot(*thigh[1:]) * np.hypot(*shank[1:])
        short = 0.5 * (straight**2 - (line**2).sum(1)) / in_plane
        bend = straight_angle + np.arccos(np.clip(1 - short, -1, 1))
        knee = rotations_about(X, bend)
        # The knee points half-way between the pelvis and the toes.
        across = trunk.rotmat[..., 0] + foot.rotmat[..., 0]
        hip_turn = _frames(line, across) @ _frames(thigh + knee @ shank, np.broadcast_to(X, line.shape)).mT
        rotvecs[:, JOINT[f"{side}_hip"]] = _rotvecs(trunk.rotmat.mT @ hip_turn)
        rotvecs[:, JOINT[f"{side}_knee"], 0] = bend
        rotvecs[:, JOINT[f"{side}_ankle"]] = _rotvecs((hip_turn @ knee).mT @ foot.rotmat)
        rotvecs[:, JOINT[f"{side}_foot"], 0] = -foot.toe_bend


def _upper_body(style: Style, trunk: Trunk) -> np.ndarray:
    """(T, 22, 3) rotation vectors with the root, spine, head and arms filled in."""
    rotvecs = np.zeros((len(trunk.stride), NUM_BODY_JOINTS, 3))
    rotvecs[:, 0] = _rotvecs(trunk.rotmat)
    chest_yaw = (style.chest_yaw + style.pelvis_yaw) * trunk.stride
    for name in ("spine1", "spine2", "spine3"):
        rotvecs[:, JOINT[name], 1] = chest_yaw / 3
        rotvecs[:, JOINT[name], 2] = 1.2 * style.pelvis_drop * trunk.sway / 3
    for name in ("neck", "head"):
        rotvecs[:, JOINT[name], 0] = -0.5 * style.lean
        rotvecs[:, JOINT[name], 1] = 0.5 * (trunk.gaze - style.chest_yaw * trunk.stride)
        rotvecs[:, JOINT[name], 2] = -0.1 * style.pelvis_drop * trunk.sway
    for side, sign in (("left", 1), ("right", -1)):
        back = style.arm_swing * sign * trunk.stride  # the arm is behind while its own leg is in front
        drop = np.full_like(back, -sign * style.arm_drop)
        rotvecs[:, JOINT[f"{side}_collar"], 1] = 0.15 * style.chest_yaw * trunk.stride
        rotvecs[:, JOINT[f"{side}_collar"], 2] = -sign * 0.1
        rotvecs[:, JOINT[f"{side}_shoulder"]] = _rotvecs(rotations_about(X, back) @ rotations_about(Z, drop))
        rotvecs[:, JOINT[f"{side}_elbow"], 1] = -sign * (style.elbow - style.elbow_swing * sign * trunk.stride)
    return rotvecs


def _frames(main: np.ndarray, side: np.ndarray) -> np.ndarray:
    """(T, 3, 3) axes: along the first direction, along the second as far as it is square to that, and the third."""
    main = main / np.linalg.norm(main, axis=-1, keepdims=True)
    side = side - (side * main).sum(-1, keepdims=True) * main
    side = side / np.linalg.norm(side, axis=-1, keepdims=True)
    return np.stack([main, side, np.cross(main, side)], -1)


def _rotvecs(rotmats: np.ndarray) -> np.ndarray:
    return rotmat_to_rotvec(torch.from_numpy(rotmats)).numpy()
