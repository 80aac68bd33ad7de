"""Observations of a body: joints in space or in a camera's image, some of them missing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..data.amass import gender_of
from ..data.plausibility import implausible_size
from ..data.processing import TARGET_FPS
from ..errors import MotionError
from ..io.untrusted_arrays import read_npz
from ..skeleton import BODY_NAMES, NUM_BODY_JOINTS

_ARRAYS = ("joints3d", "joints2d", "camera", "rotation", "translation", "noise", "gender", "fps", "truth")
NOISE_3D, NOISE_2D = 0.03, 6.0  # metres and pixels, where a file does not state its noise
MOST_NOISE = 1.0  # metres: more says nothing of where a joint is
FARTHEST_CAMERA = 300.0  # metres from the world's origin
NEAREST = 0.1  # metres in front of a camera: nearer points are projected as if they were there


@dataclass(frozen=True, eq=False)
class PinholeCamera:
    """A pinhole camera: x right, y down, z forward."""

    focal: Float[Tensor, "2"]  # pixels
    centre: Float[Tensor, "2"]  # pixels
    rotation: Float[Tensor, "3 3"]  # world to camera
    translation: Float[Tensor, "3"]  # metres: the world's origin in the camera's frame

    def map(self, change: Callable[[Tensor], Tensor]) -> "PinholeCamera":
        """The camera with every tensor replaced by `change` of it."""
        return PinholeCamera(*map(change, (self.focal, self.centre, self.rotation, self.translation)))

    def project(self, points: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 2"]:
        """Pixels of points of the world, metres."""
        in_camera = points @ self.rotation.mT + self.translation
        return self.focal * in_camera[..., :2] / in_camera[..., 2:].clamp_min(NEAREST) + self.centre

    def unproject(self, pixels: Float[Tensor, "*batch 2"], depth: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch 3"]:
        """Points of the world, metres, that project to pixels at a depth, metres along the camera's axis."""
        rays = torch.cat([(pixels - self.centre) / self.focal, torch.ones_like(pixels[..., :1])], -1)
        return (depth.unsqueeze(-1) * rays - self.translation) @ self.rotation


@dataclass(frozen=True, eq=False)
class Observations:
    """Observed joints, 30 frames a second; of one motion, or of several of one length, along leading axes."""

    joints: Float[Tensor, "*batch frames 22 D"]  # metres (D = 3) or pixels (D = 2); zero where missing
    confidence: Float[Tensor, "*batch frames 22"]  # 0 where missing, at most 1
    noise: float  # standard deviation of the joints, metres or pixels
    camera: PinholeCamera | None = None  # of the pixels
    gender: str = "neutral"
    truth: Float[Tensor, "*batch frames 22 3"] | None = None  # metres, where it is known

    def map(self, change: Callable[[Tensor], Tensor]) -> "Observations":
        """The same with every tensor replaced by `change` of it."""
        camera = self.camera and self.camera.map(change)
        truth = None if self.truth is None else change(self.truth)
        return Observations(change(self.joints), change(self.confidence), self.noise, camera, self.gender, truth)

    def residuals(self, joints: Float[Tensor, "*batch frames 22 3"]) -> Float[Tensor, "*batch frames 22 D"]:
        """Joints of the world (metres) less the observed ones, in standard deviations; 0 where a joint is missing."""
        residuals = (joints if self.camera is None else self.camera.project(joints)) - self.joints
        return (residuals / self.noise).masked_fill(self.confidence.unsqueeze(-1) <= 0, 0)


def observe(
    truth: Float[Tensor, "*batch frames 22 3"],
    noise: float,
    hidden: Sequence[str] = (),
    camera: PinholeCamera | None = None,
    seed: int = 0,
    gender: str = "neutral",
) -> Observations:
    """Simulate observations of joints, with normal noise (metres, or pixels with a camera) and some hidden by name."""
    random = torch.Generator().manual_seed(seed)
    exact = truth if camera is None else camera.project(truth)
    confidence = torch.ones(truth.shape[:-1])
    confidence[..., [BODY_NAMES.index(name) for name in hidden]] = 0
    joints = (exact + noise * torch.randn(exact.shape, generator=random)) * confidence.unsqueeze(-1)
    return Observations(joints, confidence, noise, camera, gender, truth)


def read_observations(path: str | Path) -> Observations:
    """Read an `.npz` with `joints3d` (T,22,3), metres, NaN where missing; or `joints2d` (T,22,3): pixels, confidence.

    `joints2d` needs `camera` (fx, fy, cx, cy), `rotation` (3,3) and `translation` (3), world to camera. It may hold
    `noise`, `gender`, `fps` (30) and `truth` (T,22,3). Raises FileError and MotionError.
    """
    arrays = read_npz(path, _ARRAYS)
    kinds = [name for name in ("joints3d", "joints2d") if name in arrays]
    if len(kinds) != 1:
        raise MotionError(f'{path}: holds {" and ".join(kinds) or "neither"}; expected one of "joints3d", "joints2d".')
    if float(arrays.get("fps", TARGET_FPS)) != TARGET_FPS:
        raise MotionError(
            f"{path}: {float(arrays['fps']):g} frames a second; the network knows {TARGET_FPS}: resample."
        )
    (kind,) = kinds
    frames = len(arrays[kind]) if arrays[kind].ndim else 0
    numbers = _numbers(arrays, kind, (frames, NUM_BODY_JOINTS, 3), path)
    if frames < 3:
        raise MotionError(f"{path}: {frames} frames; expected 3 or more.")
    camera = _camera(arrays, path) if kind == "joints2d" else None
    joints, confidence = (numbers, torch.ones(frames, NUM_BODY_JOINTS))
    if camera is not None:
        joints, confidence = numbers[..., :2], numbers[..., 2]
    present = joints.isfinite().all(-1) & (confidence > 0)
    if not present.any():
        raise MotionError(f"{path}: no joint is observed in any frame; check {kind}.")
    noise = float(arrays.get("noise", NOISE_3D if camera is None else NOISE_2D))
    if not (noise > 0 and (camera is not None or noise <= MOST_NOISE)):
        raise MotionError(f"{path}: noise {noise:g}; expected a standard deviation above 0, in metres or pixels.")
    truth = _numbers(arrays, "truth", (frames, NUM_BODY_JOINTS, 3), path) if "truth" in arrays else None
    joints = torch.where(present.unsqueeze(-1), joints, 0.0)
    if camera is None:
        _require_metres(joints, present, kind, path)
    if truth is not None:
        _require_metres(truth.nan_to_num(), truth.isfinite().all(-1), "truth", path)
    confidence = torch.where(present, confidence.clamp(max=1), 0.0)
    return Observations(joints, confidence, noise, camera, gender_of(arrays, str(path), "neutral"), truth)


def _require_metres(
    joints: Float[Tensor, "frames 22 3"], present: Bool[Tensor, "frames 22"], name: str, path: str | Path
) -> None:
    problem = implausible_size(joints, present)
    if problem:
        raise MotionError(f'{path}: "{name}" shows {problem}; give metres.')


def _camera(arrays: dict[str, np.ndarray], path: str | Path) -> PinholeCamera:
    shapes = {"camera": (4,), "rotation": (3, 3), "translation": (3,)}
    lens, rotation, translation = (_numbers(arrays, name, shape, path) for name, shape in shapes.items())
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
