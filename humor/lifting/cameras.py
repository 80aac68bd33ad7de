"""Simulated 2D joint detections: Human3.6M's seventeen joints, projected by random cameras, with noise."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from ..skeleton import BODY_NAMES

# Human3.6M's order. SMPL has no crown joint: the line from the upper spine to the head joint is extended so far that it
# ends within 3 cm of the mannequin's crown while the neck is straight.
JOINT_NAMES = (
    "pelvis", "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle", "spine2", "neck", "head",
    "crown", "left_shoulder", "left_elbow", "left_wrist", "right_shoulder", "right_elbow", "right_wrist",
)  # fmt: skip
PARENTS = (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 9, 8, 11, 12, 8, 14, 15)
CROWN_DISTANCE = 0.57  # beyond the head joint, in units of its distance from the upper spine (spine3)
MIRRORED_JOINTS = (0, 4, 5, 6, 1, 2, 3, 7, 8, 9, 10, 14, 15, 16, 11, 12, 13)  # the joint of the other side
_PAIRS = tuple(min(joint, other) for joint, other in enumerate(MIRRORED_JOINTS))  # the same number for left and right

PIXEL = 1 / 500  # in halves of the width of an image of 1000 pixels, the unit of points
MIN_DISTANCE, MAX_DISTANCE = 2.5, 5.0  # metres from the camera to the closest joint of a window
MIN_TILT, MAX_TILT = -0.1, 0.45  # radians of a camera's tilt downwards
FOCAL_LENGTH = (1.5, 2.3)  # in halves of the image's width; Human3.6M's cameras have 2.3
MAX_FILL = 0.9  # share of the image that motion fills at most; the focal length is reduced for it


@dataclass(frozen=True, eq=False)
class PinholeCameras:
    """Level pinhole cameras, one for each window. Axes are right, down, forward; lengths are metres."""

    rotation: Float[Tensor, "B 3 3"]  # rows are the camera's axes in the world
    position: Float[Tensor, "B 3"]
    focal: Float[Tensor, " B"]  # in halves of the image's width

    def world_to_camera(self, joints: Float[Tensor, "B T J 3"]) -> Float[Tensor, "B T J 3"]:
        """Transform joints from world to camera coordinates, metres."""
        return (joints - self.position[:, None, None]) @ self.rotation[:, None].mT

    def project(self, joints: Float[Tensor, "B T J 3"]) -> Float[Tensor, "B T J 2"]:
        """Project joints in camera coordinates to the image: (0, 0) is its middle, x is from -1 to 1."""
        return self.focal[:, None, None, None] * joints[..., :2] / joints[..., 2:]


@dataclass(frozen=True)
class Noise:
    """A detector's errors, independent of each other."""

    jitter: float  # standard deviation, pixels
    missed: float  # share of joints detected at random in the body's box
    swapped: float  # share of left-right pairs that are exchanged


NoiseName = Literal["clean", "noisy", "noisier"]
NOISES: dict[NoiseName, Noise] = {
    #                jitter  missed  swapped
    "clean":   Noise(0.0,    0.0,    0.0),
    "noisy":   Noise(5.0,    0.02,   0.01),
    "noisier": Noise(15.0,   0.05,   0.03),
}  # fmt: skip


def smpl_to_h36m_joints(joints: Float[Tensor, "*b 22 3"]) -> Float[Tensor, "*b 17 3"]:
    """Select and compute Human3.6M's seventeen joints from SMPL's 22."""
    named = dict(zip(BODY_NAMES, joints.unbind(-2), strict=True))
    named["crown"] = named["head"] + CROWN_DISTANCE * (named["head"] - named["spine3"])
    return torch.stack([named[name] for name in JOINT_NAMES], -2)


def mirror(joints: Float[Tensor, "*b 17 D"]) -> Float[Tensor, "*b 17 D"]:
    """The joints of the mirrored person, as points of an image or in camera coordinates: left is right."""
    flipped = joints[..., MIRRORED_JOINTS, :]
    return torch.cat([-flipped[..., :1], flipped[..., 1:]], -1)


def draw_cameras(joints: Float[Tensor, "B T J 3"], random: Generator) -> PinholeCameras:
    """Draw a camera for each window of motion, z up, that looks at its middle and has all joints in view."""
    turn, down, near, zoom = torch.rand(4, len(joints), generator=random)
    turn, down = 2 * torch.pi * turn, MIN_TILT + (MAX_TILT - MIN_TILT) * down
    level = torch.stack([turn.cos(), turn.sin(), torch.zeros_like(turn)], -1)
    right = torch.stack([turn.sin(), -turn.cos(), torch.zeros_like(turn)], -1)
    forward = level * down.cos()[:, None] - torch.tensor([0.0, 0.0, 1.0]) * down.sin()[:, None]
    rotation = torch.stack([right, torch.linalg.cross(forward, right), forward], -2)
    middle = joints.mean((1, 2))
    closest = ((joints - middle[:, None, None]) @ forward[:, None, :, None]).amin((1, 2, 3))
    back = MIN_DISTANCE + (MAX_DISTANCE - MIN_DISTANCE) * near - closest
    camera = PinholeCameras(rotation, middle - back[:, None] * forward, torch.ones(len(joints)))
    extent = camera.project(camera.world_to_camera(joints)).abs().amax((1, 2, 3))
    focal = (FOCAL_LENGTH[0] + (FOCAL_LENGTH[1] - FOCAL_LENGTH[0]) * zoom).minimum(MAX_FILL / extent)
    return PinholeCameras(rotation, camera.position, focal)


def add_detector_noise(points: Float[Tensor, "B T 17 2"], noise: Noise, random: Generator) -> Float[Tensor, "B T 17 2"]:
    """Add a detector's errors to points: exchange pairs, replace missed joints, and add jitter to all."""
    swapped, missed = torch.rand(2, *points.shape[:-1], 1, generator=random)
    noisy = torch.where(swapped[:, :, _PAIRS] < noise.swapped, points[:, :, MIRRORED_JOINTS], points)
    low, high = points.amin(-2, keepdim=True), points.amax(-2, keepdim=True)
    anywhere = low + (high - low) * torch.rand(points.shape, generator=random)
    noisy = torch.where(missed < noise.missed, anywhere, noisy)
    return noisy + noise.jitter * PIXEL * torch.randn(points.shape, generator=random)
