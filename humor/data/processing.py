"""Process raw clips into training data: joints, velocities, floor and contacts. Source: HuMoR, appendix."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..body import BodyModel, PosedBody
from ..errors import MotionError, SettingError
from ..rotations import rotvec_to_rotmat
from ..skeleton import CONTACT_JOINTS
from ..state import MotionState
from .amass import RawClip
from .clustering import dbscan

TARGET_FPS = 30
MIN_SECONDS = 1.0
MAX_RESTING_STEP = 0.005  # metres a frame: a joint that moves less may be in contact
FLOOR_OFFSET = 0.01  # metres: the toe base joint's height above the sole, roughly
FLOOR_RADIUS, FLOOR_SAMPLES = 0.005, 3  # metres, count: toe heights this close together are one level
TERRAIN_STEP = 0.04  # metres: a level this much higher, of toes and root, is something stepped onto
TERRAIN_SECONDS = 0.25
TOE_HEIGHT, JOINT_HEIGHT = 0.04, 0.08  # metres above the floor within which a resting joint is in contact
MAX_SPEED = 15.0  # metres a second, of the root's median: nobody runs so fast
MAX_DISTANCE = 100_000.0  # metres from the origin: only damaged files hold more
_LEFT_TOE, _RIGHT_TOE = 10, 11


@dataclass(frozen=True, eq=False)
class Clip:
    """A processed clip: the floor is at z = 0."""

    name: str
    state: MotionState  # frames, ...
    contacts: Float[Tensor, "frames 9"]  # 0 or 1, in the order of CONTACT_JOINTS
    keypoints: Float[Tensor, "frames 43 3"]  # metres, vertices KEYPOINT_VERTICES
    betas: Float[Tensor, "16"]
    gender: str
    fps: float
    floor_height: float  # metres that were subtracted from z

    def __len__(self) -> int:
        return len(self.contacts)


@dataclass(frozen=True)
class Dropped:
    """A clip that the processing rules drop, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Floor:
    """Where the floor is."""

    height: float  # metres
    offset: float  # metres between the toe base joint and the sole; 0 where no toe ever rests
    is_terrain: bool  # other levels are stepped onto


def process_clip(raw: RawClip | Mapping[str, np.ndarray], bodies: Mapping[str, BodyModel]) -> Clip | None:
    """Process a raw clip (AMASS's arrays by name, or read already); None where the rules drop it.

    Raises MotionError for arrays that hold no motion.
    """
    outcome = process_or_drop(raw if isinstance(raw, RawClip) else RawClip.from_arrays(raw), bodies)
    return None if isinstance(outcome, Dropped) else outcome


@torch.no_grad()
def process_or_drop(raw: RawClip, bodies: Mapping[str, BodyModel]) -> Clip | Dropped:
    """Process a raw clip, or say why the rules drop it.

    Raises MotionError for joints that are not finite, far away or too fast, SettingError for a gender without a body.
    """
    first, last = int(0.1 * len(raw.poses)), int(0.9 * len(raw.poses))
    if last - first < MIN_SECONDS * raw.fps or last - first < 3:
        return Dropped(raw.name, f"{(last - first) / raw.fps:.2f} s after trimming, under {MIN_SECONDS:g} s")
    if raw.gender not in bodies:
        raise SettingError(f'{raw.name}: no body for gender "{raw.gender}"; there is {", ".join(bodies)}.')
    rotmats = rotvec_to_rotmat(torch.as_tensor(raw.poses[first:last], dtype=torch.float32).unflatten(-1, (-1, 3)))
    trans = torch.as_tensor(raw.trans[first:last], dtype=torch.float32)
    betas = torch.as_tensor(raw.betas, dtype=torch.float32)
    posed = _posed(bodies[raw.gender], rotmats, betas, trans)
    if not (posed.joints.abs() <= MAX_DISTANCE).all():
        raise MotionError(f"{raw.name}: a joint is not within {MAX_DISTANCE:g} m of the origin; cut those frames out.")

    speed = float(torch.linalg.vector_norm(velocity(trans, raw.fps), dim=-1).median())
    if speed > MAX_SPEED:
        raise MotionError(
            f"{raw.name}: moves at {speed:.3g} m/s most of the time; give metres, and the right frames a second."
        )
    resting = movement(posed.joints) < MAX_RESTING_STEP
    floor = find_floor(posed.joints, resting, raw.fps)
    if floor.is_terrain:
        return Dropped(raw.name, "steps onto something higher than the floor")
    contacts = find_contacts(posed.joints, resting, floor)

    down = torch.tensor([0.0, 0.0, floor.height - floor.offset])
    state = MotionState(
        (trans - down)[1:-1],
        velocity(trans, raw.fps),
        rotmats[1:-1, 0],
        angular_velocity(rotmats[:, 0], raw.fps),
        rotmats[1:-1, 1:22],
        (posed.joints - down)[1:-1],
        velocity(posed.joints, raw.fps),
    )
    assert posed.vertices is not None
    kept, fps = downsample(len(contacts) - 2, raw.fps)
    return Clip(
        raw.name,
        state.map(lambda x: x[kept]),
        contacts[1:-1][kept],
        (posed.vertices - down)[1:-1][kept],
        betas,
        raw.gender,
        fps,
        floor.height - floor.offset,
    )


def movement(joints: Float[Tensor, "frames J 3"]) -> Float[Tensor, "frames J"]:
    """Distance of each joint to its position in the next frame, metres; the last frame repeats the one before."""
    steps = torch.linalg.vector_norm(joints[1:] - joints[:-1], dim=-1)
    return torch.cat([steps, steps[-1:]])


def velocity(positions: Float[Tensor, "frames *rest"], fps: float) -> Float[Tensor, "inner *rest"]:
    """Central differences, metres a second; one frame is lost at each end."""
    return (positions[2:] - positions[:-2]) * (fps / 2)


def angular_velocity(rotmats: Float[Tensor, "frames *rest 3 3"], fps: float) -> Float[Tensor, "inner *rest 3"]:
    """Angular velocity in world axes, radians a second, from dR/dt R^T; one frame is lost at each end."""
    spin = velocity(rotmats, fps) @ rotmats[1:-1].mT
    return 0.5 * torch.stack([spin[..., i, j] - spin[..., j, i] for i, j in ((2, 1), (0, 2), (1, 0))], -1)


def find_floor(joints: Float[Tensor, "frames J 3"], resting: Bool[Tensor, "frames J"], fps: float) -> Floor:
    """The lowest level at which toes rest; a level is a cluster of toe base heights, and noise counts as one."""
    heights, frames = [], []
    for toe in (_LEFT_TOE, _RIGHT_TOE):
        rests = resting[:, toe].numpy()
        heights.append(joints[:, toe, 2].numpy()[rests])
        frames.append(np.flatnonzero(rests))
    height, frame = np.concatenate(heights), np.concatenate(frames)
    if not len(height):
        return Floor(0.0, 0.0, is_terrain=False)
    labels = dbscan(height, FLOOR_RADIUS, FLOOR_SAMPLES)
    root = joints[:, 0, 2].numpy()
    levels = [(height[labels == k], np.unique(frame[labels == k])) for k in np.unique(labels)]
    medians = [(float(np.median(toes)), float(np.median(root[at]))) for toes, at in levels]
    floor, floor_root = min(medians)
    is_terrain = any(
        len(toes) > int(TERRAIN_SECONDS * fps) and toe - floor > TERRAIN_STEP and hip - floor_root > TERRAIN_STEP
        for (toes, _), (toe, hip) in zip(levels, medians, strict=True)
    )
    return Floor(floor, FLOOR_OFFSET, is_terrain)


def find_contacts(
    joints: Float[Tensor, "frames J 3"], resting: Bool[Tensor, "frames J"], floor: Floor
) -> Float[Tensor, "frames 9"]:
    """1 where a joint rests close to the floor, in the order of CONTACT_JOINTS; the pelvis never does."""
    columns = []
    for joint in CONTACT_JOINTS:
        limit = TOE_HEIGHT if joint in (_LEFT_TOE, _RIGHT_TOE) else JOINT_HEIGHT
        near = joints[:, joint, 2] - floor.height < limit
        columns.append(near & resting[:, joint] & (joint != 0))
    return torch.stack(columns, -1).to(joints.dtype)


def downsample(frames: int, fps: float) -> tuple[Tensor, float]:
    """Choose which frames to keep for 30 a second. Returns their indices and the frame rate that they have."""
    if fps <= TARGET_FPS:
        return torch.arange(frames), fps
    kept = np.linspace(0, frames - 1, int(TARGET_FPS / fps * frames)).astype(np.int64)
    return torch.as_tensor(kept), float(TARGET_FPS)


def _posed(body: BodyModel, rotmats: Tensor, betas: Tensor, trans: Tensor) -> PosedBody:
    """Joints and keypoint vertices, on the CPU. Hands at rest throughout are left out, which changes no number.

    So are all hands with a body that has none, SMPL's.
    """
    at_rest = torch.eye(3).expand_as(rotmats[:, 22:])
    if rotmats.shape[1] != len(body.skeleton) or bool((rotmats[:, 22:] == at_rest).all()):
        rotmats = rotmats[:, :22]
    device = body.keypoints.device
    posed = body(rotmats.to(device), betas.to(device).expand(len(trans), -1), trans.to(device), vertices="keypoints")
    assert posed.vertices is not None
    return PosedBody(posed.joints.cpu(), posed.vertices.cpu())
