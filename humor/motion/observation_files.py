"""Read what was observed of a motion: an `.npz` of joints, keypoints or points, or OpenPose's folder of keypoints."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..data.amass import gender_of
from ..data.plausibility import implausible_size
from ..data.processing import TARGET_FPS
from ..errors import MotionError
from ..io.openpose import BODY_25_NAMES, read_openpose
from ..io.untrusted_arrays import read_npz
from ..skeleton import BODY_NAMES, KEYPOINT_VERTICES, NUM_BODY_JOINTS
from .observations import Observations, PinholeCamera

NOISE_3D, NOISE_2D = 0.03, 6.0  # metres and pixels, where a file does not state its noise
MOST_NOISE = 1.0  # metres: more says nothing of where a joint is
FARTHEST_CAMERA = 300.0  # metres from the world's origin
FPS_RANGE = (1.0, 1000.0)
MOST_FRAMES = 3000  # that are fitted at once: the basis over time grows with their square
MOST_POINTS = 2000  # of a cloud, each frame

# Arrays that are observations: their kind, and how many there are in a frame (any number of points).
_KINDS = {
    "joints3d": ("joints", NUM_BODY_JOINTS),
    "joints2d": ("joints", NUM_BODY_JOINTS),
    "keypoints3d": ("keypoints", len(KEYPOINT_VERTICES)),
    "points3d": ("points", None),
}
_ARRAYS = (*_KINDS, "camera", "rotation", "translation", "noise", "noise2d", "gender", "fps", "truth")
# Looks along the world's y, as high as the origin: where a camera is that nothing is known of.
_UNKNOWN_ROTATION = ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0), (0.0, 1.0, 0.0))
# The joints of BODY_25 that are joints of SMPL. Neck and hips lie elsewhere; the big toe stands for the toe base.
_LIMBS = [f"{side}_{name}" for side in ("left", "right") for name in ("shoulder", "elbow", "wrist", "knee", "ankle")]
_FROM_BODY_25 = {name: name for name in _LIMBS} | {f"{side}_foot": f"{side}_big_toe" for side in ("left", "right")}


@dataclass(frozen=True)
class VideoSettings:
    """What is known of a video beside its keypoints."""

    focal: float | None = None  # focal length, pixels
    centre: tuple[float, float] | None = None  # of the image, pixels; the middle of the keypoints if left out
    fps: float | None = None  # frames a second; 30 if left out


def read_observations(path: str | Path, video: VideoSettings = VideoSettings()) -> Observations:
    """Read observations of a motion, at 30 frames a second: resampled where the file says another rate.

    An `.npz` has one or several of `joints3d` (T,22,3) and `keypoints3d` (T,43,3; `KEYPOINT_VERTICES`), metres, NaN
    where missing; `points3d` (T,P,3), metres, of the body's surface; `joints2d` (T,22,3): pixels and confidence, which
    need `camera` (fx, fy, cx, cy) and, where they are known, `rotation` (3,3) and `translation` (3), world to camera.
    It may hold `noise` (metres, or pixels of joints2d alone), `noise2d` (pixels beside metres), `gender`, `fps`, and
    `truth` (T,22,3). A folder is OpenPose's, and needs a focal length. Raises FileError and MotionError.
    """
    if Path(path).is_dir():
        return _resampled(_read_openpose(Path(path), video), video.fps or TARGET_FPS, path)
    arrays = read_npz(path, _ARRAYS)
    kinds = [name for name in _KINDS if name in arrays]
    if not kinds:
        raise MotionError(f"{path}: holds none of {', '.join(_KINDS)}; expected one of them.")
    frames = len(arrays[kinds[0]]) if arrays[kinds[0]].ndim else 0
    if frames < 3:
        raise MotionError(f"{path}: {frames} frames; expected 3 or more.")
    first, *others = (_read_part(arrays, name, frames, kinds, path) for name in kinds)
    truth = _numbers(arrays, "truth", (frames, NUM_BODY_JOINTS, 3), path) if "truth" in arrays else None
    if truth is not None:
        _require_metres(truth.nan_to_num(), truth.isfinite().all(-1), "truth", path)
    gender = gender_of(arrays, str(path), "neutral")
    observed = replace(first, gender=gender, truth=truth, also=tuple(others))
    if not any((part.confidence > 0).any() for part in observed.parts):
        raise MotionError(f"{path}: nothing is observed in any frame; check {' and '.join(kinds)}.")
    fps = video.fps if video.fps is not None else float(arrays.get("fps", TARGET_FPS))
    return _resampled(replace(observed, floor_known=_knows_floor(arrays, kinds)), fps, path)


def _knows_floor(arrays: Mapping[str, np.ndarray], kinds: list[str]) -> bool:
    return kinds != ["joints2d"] or "rotation" in arrays


def _read_part(
    arrays: dict[str, np.ndarray], name: str, frames: int, kinds: list[str], path: str | Path
) -> Observations:
    kind, count = _KINDS[name]
    if count is None:
        count = arrays[name].shape[1] if arrays[name].ndim == 3 else 1
        if not 0 < count <= MOST_POINTS:
            raise MotionError(f"{path}: {count} points in a frame; expected 1 to {MOST_POINTS}: thin them out.")
    numbers = _numbers(arrays, name, (frames, count, 3), path)
    camera = _camera(arrays, path, known=len(kinds) > 1) if name == "joints2d" else None
    points, confidence = numbers, torch.ones(frames, count)
    if camera is not None:
        points, confidence = numbers[..., :2], numbers[..., 2]
    present = points.isfinite().all(-1) & (confidence > 0)
    noise = _noise(arrays, camera is not None, len(kinds) > 1, path)
    points = torch.where(present.unsqueeze(-1), points, 0.0)
    if kind == "joints" and camera is None:
        _require_metres(points, present, name, path)
    return Observations(points, torch.where(present, confidence.clamp(max=1), 0.0), noise, camera, kind=kind)


def _noise(arrays: Mapping[str, np.ndarray], in_image: bool, beside: bool, path: str | Path) -> float:
    """The deviation of a part: of pixels beside metres, `noise2d`."""
    name = "noise2d" if in_image and beside else "noise"
    noise = float(arrays.get(name, NOISE_2D if in_image else NOISE_3D))
    if not (noise > 0 and (in_image or noise <= MOST_NOISE)):
        raise MotionError(f"{path}: {name} {noise:g}; expected a standard deviation above 0, in metres or pixels.")
    return noise


def _read_openpose(folder: Path, video: VideoSettings) -> Observations:
    if video.focal is None or not video.focal > 0:
        raise MotionError(f"{folder}: a folder of keypoints needs the camera's focal length in pixels: --focal.")
    keypoints = torch.as_tensor(read_openpose(folder).keypoints, dtype=torch.float32)
    if len(keypoints) < 3:
        raise MotionError(f"{folder}: {len(keypoints)} frames; expected 3 or more.")
    joints, confidence = torch.zeros(len(keypoints), NUM_BODY_JOINTS, 2), torch.zeros(len(keypoints), NUM_BODY_JOINTS)
    for name, of in _FROM_BODY_25.items():
        joint, keypoint = BODY_NAMES.index(name), BODY_25_NAMES.index(of)
        joints[:, joint], confidence[:, joint] = keypoints[:, keypoint, :2], keypoints[:, keypoint, 2]
    seen = joints[confidence > 0]
    if not len(seen):
        raise MotionError(f"{folder}: no limb is seen in any frame; expected shoulders to toes of BODY_25.")
    centre = torch.tensor(video.centre) if video.centre else (seen.amin(0) + seen.amax(0)) / 2
    camera = _unknown_camera(torch.tensor([video.focal, video.focal]), centre)
    return Observations(joints, confidence, NOISE_2D, camera, floor_known=False)


def _unknown_camera(focal: Float[Tensor, "2"], centre: Float[Tensor, "2"]) -> PinholeCamera:
    return PinholeCamera(focal, centre, torch.tensor(_UNKNOWN_ROTATION), torch.zeros(3))


def _resampled(observed: Observations, fps: float, path: str | Path) -> Observations:
    """The same at 30 frames a second: between two frames linearly, and missing where one of them is."""
    if not FPS_RANGE[0] <= fps <= FPS_RANGE[1]:
        raise MotionError(f"{path}: {fps:g} frames a second; expected {FPS_RANGE[0]:g} to {FPS_RANGE[1]:g}.")
    given = observed.confidence.shape[0]
    frames = int((given - 1) / fps * TARGET_FPS + 1e-6) + 1
    if not 3 <= frames <= MOST_FRAMES:
        expected = f"expected 3 to {MOST_FRAMES}: give another part of the clip"
        raise MotionError(f"{path}: {frames} frames at {TARGET_FPS} a second; {expected}.")
    if fps == TARGET_FPS:
        return observed
    times = torch.arange(frames, dtype=torch.float64) * fps / TARGET_FPS
    before = times.add(1e-6).floor().long().clamp(max=given - 1)
    share = (times - before).clamp(min=0).float()
    after = torch.where(share > 1e-4, before + 1, before)

    def blend(x: Tensor) -> Tensor:
        weight = share.reshape(-1, *[1] * (x.dim() - 1))
        return x[before] * (1 - weight) + x[after] * weight

    def resample(part: Observations) -> Observations:
        if part.kind == "points":  # of one frame and the next are not the same ones
            nearest = times.round().long().clamp(max=given - 1)
            return replace(part, joints=part.joints[nearest], confidence=part.confidence[nearest])
        confidence = torch.minimum(part.confidence[before], part.confidence[after])
        joints = torch.where(confidence.unsqueeze(-1) > 0, blend(part.joints), 0.0)
        return replace(part, joints=joints, confidence=confidence)

    truth = None if observed.truth is None else blend(observed.truth)
    return replace(resample(observed), given_fps=fps, truth=truth, also=tuple(resample(part) for part in observed.also))


def _require_metres(
    joints: Float[Tensor, "frames 22 3"], present: Bool[Tensor, "frames 22"], name: str, path: str | Path
) -> None:
    problem = implausible_size(joints, present)
    if problem:
        raise MotionError(f'{path}: "{name}" shows {problem}; give metres.')


def _camera(arrays: dict[str, np.ndarray], path: str | Path, known: bool) -> PinholeCamera:
    """The camera of joints2d; without a place, unless `known` is asked for, one at an unknown place."""
    lens = _numbers(arrays, "camera", (4,), path)
    if not (known or "rotation" in arrays or "translation" in arrays):
        rotation, translation = torch.tensor(_UNKNOWN_ROTATION), torch.zeros(3)
    else:
        rotation = _numbers(arrays, "rotation", (3, 3), path)
        translation = _numbers(arrays, "translation", (3,), path)
    if not (torch.cat([lens, rotation.flatten(), translation]).isfinite().all() and (lens[:2] > 0).all()):
        raise MotionError(
            f"{path}: the camera is not finite or has no focal length; expected fx, fy, cx, cy in pixels."
        )
    if (rotation @ rotation.mT - torch.eye(3)).abs().max() > 1e-3 or torch.linalg.det(rotation) < 0:
        raise MotionError(f'{path}: "rotation" is no rotation matrix; expected world to camera, y down.')
    distance = float(torch.linalg.vector_norm(translation))
    if distance > FARTHEST_CAMERA:
        raise MotionError(f"{path}: the camera is {distance:.0f} m from the world's origin; give metres.")
    return PinholeCamera(lens[:2], lens[2:], rotation, translation)


def _numbers(arrays: dict[str, np.ndarray], name: str, shape: tuple[int, ...], path: str | Path) -> Tensor:
    if name not in arrays:
        raise MotionError(f'{path}: no "{name}", which joints2d needs; expected numbers of shape {shape}.')
    if arrays[name].shape != shape or arrays[name].dtype.kind not in "fiu":
        raise MotionError(f'{path}: "{name}" is {arrays[name].dtype} {arrays[name].shape}; expected numbers {shape}.')
    return torch.as_tensor(arrays[name].astype(np.float32))
