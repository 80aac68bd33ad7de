"""What a detector would tell of a moving body: seventeen joints, seen through a random camera, and its mistakes."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from ..skeleton import BODY_NAMES

# Human3.6M's order. The crown is none of SMPL's joints: it lies as far beyond the head joint, seen from the upper
# spine, that it is the mannequin's within 3 cm while the neck is straight.
NAMES = (
    "pelvis", "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle", "spine2", "neck", "head",
    "crown", "left_shoulder", "left_elbow", "left_wrist", "right_shoulder", "right_elbow", "right_wrist",
)  # fmt: skip
CROWN = 0.57  # beyond the head joint, in its distances from the upper spine (spine3)
MIRROR = (0, 4, 5, 6, 1, 2, 3, 7, 8, 9, 10, 14, 15, 16, 11, 12, 13)  # left for right
_PAIR = tuple(min(joint, other) for joint, other in enumerate(MIRROR))  # one number for both of a pair

PIXEL = 1 / 500  # of an image 1000 pixels wide, whose half is the unit of points
NEAREST, FARTHEST = 2.5, 5.0  # metres to where a body comes closest
LOWEST, HIGHEST = -0.1, 0.45  # radians that a camera looks down
ZOOM = (1.5, 2.3)  # focal length in halves of the image; Human3.6M's cameras have 2.3
FILLED = 0.9  # of the image at most: the zoom is less where the motion needs it


@dataclass(frozen=True, eq=False)
class Camera:
    """Level pinhole cameras, one for each window. Axes are right, down, forward; lengths are metres."""

    rotation: Float[Tensor, "B 3 3"]  # rows are the camera's axes in the world
    position: Float[Tensor, "B 3"]
    focal: Float[Tensor, " B"]  # in halves of the image's width

    def see(self, joints: Float[Tensor, "B T J 3"]) -> Float[Tensor, "B T J 3"]:
        """Joints of the world in the camera's axes."""
        return (joints - self.position[:, None, None]) @ self.rotation[:, None].mT

    def project(self, seen: Float[Tensor, "B T J 3"]) -> Float[Tensor, "B T J 2"]:
        """Where joints in the camera's axes are in the image: (0, 0) in its middle, x from -1 to 1."""
        return self.focal[:, None, None, None] * seen[..., :2] / seen[..., 2:]


@dataclass(frozen=True)
class Noise:
    """A detector's mistakes, independent of each other."""

    jitter: float  # standard deviation, pixels
    missed: float  # share of joints found anywhere in the body's box
    swapped: float  # share of pairs whose left is taken for the right


NoiseName = Literal["clean", "noisy", "noisier"]
NOISES: dict[NoiseName, Noise] = {
    #                jitter  missed  swapped
    "clean":   Noise(0.0,    0.0,    0.0),
    "noisy":   Noise(5.0,    0.02,   0.01),
    "noisier": Noise(15.0,   0.05,   0.03),
}  # fmt: skip


def lifted_joints(joints: Float[Tensor, "*b 22 3"]) -> Float[Tensor, "*b 17 3"]:
    """The seventeen joints, of SMPL's 22."""
    found = dict(zip(BODY_NAMES, joints.unbind(-2), strict=True))
    found["crown"] = found["head"] + CROWN * (found["head"] - found["spine3"])
    return torch.stack([found[name] for name in NAMES], -2)


def draw_cameras(joints: Float[Tensor, "B T J 3"], random: Generator) -> Camera:
    """A camera for each window of motion in a world with z up: it looks at the middle, from where all is in view."""
    turn, down, near, zoom = torch.rand(4, len(joints), generator=random)
    turn, down = 2 * torch.pi * turn, LOWEST + (HIGHEST - LOWEST) * down
    level = torch.stack([turn.cos(), turn.sin(), torch.zeros_like(turn)], -1)
    right = torch.stack([turn.sin(), -turn.cos(), torch.zeros_like(turn)], -1)
    forward = level * down.cos()[:, None] - torch.tensor([0.0, 0.0, 1.0]) * down.sin()[:, None]
    rotation = torch.stack([right, torch.linalg.cross(forward, right), forward], -2)
    middle = joints.mean((1, 2))
    closest = ((joints - middle[:, None, None]) @ forward[:, None, :, None]).amin((1, 2, 3))
    back = NEAREST + (FARTHEST - NEAREST) * near - closest
    camera = Camera(rotation, middle - back[:, None] * forward, torch.ones(len(joints)))
    extent = camera.project(camera.see(joints)).abs().amax((1, 2, 3))
    focal = (ZOOM[0] + (ZOOM[1] - ZOOM[0]) * zoom).minimum(FILLED / extent)
    return Camera(rotation, camera.position, focal)


def detected(points: Float[Tensor, "B T 17 2"], noise: Noise, random: Generator) -> Float[Tensor, "B T 17 2"]:
    """Points as a detector tells them: a pair swapped here, a joint missed there, and all of them shaken."""
    swapped, missed = torch.rand(2, *points.shape[:-1], 1, generator=random)
    found = torch.where(swapped[:, :, _PAIR] < noise.swapped, points[:, :, MIRROR], points)
    low, high = points.amin(-2, keepdim=True), points.amax(-2, keepdim=True)
    anywhere = low + (high - low) * torch.rand(points.shape, generator=random)
    found = torch.where(missed < noise.missed, anywhere, found)
    return found + noise.jitter * PIXEL * torch.randn(points.shape, generator=random)
