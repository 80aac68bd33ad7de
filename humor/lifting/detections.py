"""Detected 2D joints of a video as the lifting networks take them: an `.npz`, or OpenPose's folder of JSON files."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..errors import MotionError, listed
from ..io.openpose import body25_to_h36m, read_openpose
from ..io.untrusted_arrays import read_npz
from .cameras import JOINT_NAMES

FPS = 30.0  # where neither file nor user states it
FARTHEST = 10.0  # from the image's middle, in halves of its width: no detector finds a joint there


@dataclass(frozen=True, eq=False)
class Detections:
    """Human3.6M's seventeen joints in every frame of a video; those that were not detected are interpolated."""

    points: Float[Tensor, "frames 17 2"]  # in halves of the image's width, from its middle; y is down
    detected: Bool[Tensor, "frames 17"]
    fps: float
    names: list[str]  # of the frames' files; empty where there are none


def read_detections(path: Path, image_size: tuple[int, int] | None = None, fps: float | None = None) -> Detections:
    """Read `joints2d` (T,17,2) in pixels, or (T,17,3) with confidences, from an `.npz`; or OpenPose's folder.

    A joint is missing where it is not a number or has no confidence. The `.npz` may hold `image_size` (width, height)
    and `fps`, before which the arguments go. Raises FileError and MotionError.
    """
    if path.is_dir():
        frames = read_openpose(path)
        joints, names, stored = body25_to_h36m(frames.keypoints), frames.names, dict[str, np.ndarray]()
    else:
        stored, names = read_npz(path, ("joints2d", "image_size", "fps")), []
        joints = _joints(stored, path)
    if image_size is None and "image_size" not in stored:
        raise MotionError(f"{path}: does not say how large the images are; give --image-size, e.g. 1920 1080.")
    width, height = _numbers(stored["image_size"], 2, "image_size", path) if image_size is None else image_size
    rate = float(_numbers(stored["fps"], 1, "fps", path)[0]) if fps is None and "fps" in stored else fps or FPS
    if not (width >= 1 and height >= 1 and 0 < rate < 10_000):
        raise MotionError(f"{path}: images of {width:g} x {height:g} at {rate:g} frames a second; expected above 0.")
    detected = np.isfinite(joints).all(-1) & (joints[..., 2] > 0)
    points = (joints[..., :2] - [width / 2, height / 2]) / (width / 2)
    _require_in_image(points[detected], joints[detected], (width, height), path)
    points = _interpolate(points, detected, path)
    return Detections(torch.as_tensor(points, dtype=torch.float32), torch.as_tensor(detected), rate, names)


def _joints(stored: dict[str, np.ndarray], path: Path) -> Float[np.ndarray, "frames 17 3"]:
    """The joints of an `.npz` with a confidence, 1 where it has none."""
    joints = stored.get("joints2d")
    if (
        joints is None
        or joints.dtype.kind not in "fiu"
        or joints.ndim != 3
        or joints.shape[1:] not in ((17, 2), (17, 3))
    ):
        found = "missing" if joints is None else f"{joints.dtype} {joints.shape}"
        raise MotionError(
            f'{path}: "joints2d" is {found}; expected numbers (frames, 17, 2) in pixels, or (frames, 17, 3) with '
            "confidences, in Human3.6M's order."
        )
    joints = joints.astype(np.float64)
    return joints if joints.shape[2] == 3 else np.concatenate([joints, np.ones((*joints.shape[:2], 1))], -1)


def _numbers(array: np.ndarray, count: int, name: str, path: Path) -> np.ndarray:
    if array.size != count or array.dtype.kind not in "fiu":
        raise MotionError(f'{path}: "{name}" is {array.dtype} {array.shape}; expected {count} numbers.')
    return array.reshape(count).astype(np.float64)


def _require_in_image(
    points: Float[np.ndarray, "N 2"], pixels: Float[np.ndarray, "N 3"], size: tuple[float, float], path: Path
) -> None:
    if not len(points):
        raise MotionError(f"{path}: no joint is detected in any frame; check the detections.")
    if np.abs(points).max() > FARTHEST or np.abs(pixels[:, :2]).max() <= 1:
        low, high = pixels[:, :2].min(), pixels[:, :2].max()
        raise MotionError(
            f"{path}: joints from {low:g} to {high:g} in images of {size[0]:g} x {size[1]:g}; expected pixels."
        )


def _interpolate(
    points: Float[np.ndarray, "frames 17 2"], detected: Bool[np.ndarray, "frames 17"], path: Path
) -> Float[np.ndarray, "frames 17 2"]:
    """Joints that are missing, between the frames before and after that have them; the nearest one's at the ends."""
    never = [JOINT_NAMES[joint] for joint in np.flatnonzero(~detected.any(axis=0))]
    if never:
        raise MotionError(
            f"{path}: {listed(never)} not detected in any of {len(points)} frames; the networks need every joint."
        )
    filled, frames = points.copy(), np.arange(len(points))
    for joint in range(points.shape[1]):
        seen = detected[:, joint]
        for axis in range(2):
            filled[~seen, joint, axis] = np.interp(frames[~seen], frames[seen], points[seen, joint, axis])
    return filled
