"""Observations of a body: joints, marker-like vertices or points of its surface, in space or in a camera's image."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from ..skeleton import BODY_NAMES

NEAREST = 0.1  # metres in front of a camera: nearer points are projected as if they were there
KINDS = ("joints", "keypoints", "points")  # what is observed: 22 joints, 43 vertices, or any points of the surface


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
    """What is seen of a motion, 30 frames a second; of one motion, or of several of one length, along leading axes.

    `also` are other observations of the same motion, of another kind or by a camera.
    """

    joints: Float[Tensor, "*batch frames J D"]  # metres (D = 3) or pixels (D = 2); zero where missing
    confidence: Float[Tensor, "*batch frames J"]  # 0 where missing, at most 1
    noise: float  # standard deviation on each axis, metres or pixels
    camera: PinholeCamera | None = None  # of the pixels
    gender: str = "neutral"
    truth: Float[Tensor, "*batch frames 22 3"] | None = None  # metres, where it is known
    kind: str = "joints"  # one of KINDS
    also: "tuple[Observations, ...]" = ()
    floor_known: bool = True  # whether the floor is near z = 0
    given_fps: float = 30.0  # frames a second that the observations were resampled from

    @property
    def parts(self) -> "tuple[Observations, ...]":
        """These observations and the others of the same motion."""
        return (self, *self.also)

    @property
    def in_images(self) -> bool:
        """Whether nothing is observed in space."""
        return all(part.camera is not None for part in self.parts)

    @property
    def front_known(self) -> bool:
        """Whether observations tell a body's front from its back before its limbs are posed."""
        return any(part.camera is None and part.kind != "points" for part in self.parts)

    @property
    def seen(self) -> Float[Tensor, "*batch frames 22"]:
        """The highest confidence with which each joint is observed; 1 of all where other parts of the body are."""
        confidences = [part.confidence for part in self.parts if part.kind == "joints"]
        others = [part for part in self.parts if part.kind != "joints"]
        shape = (*self.confidence.shape[:-1], len(BODY_NAMES))
        confidences += [part.confidence.amax(-1, keepdim=True).expand(shape) for part in others]
        return torch.stack(confidences).amax(0)

    def map(self, change: Callable[[Tensor], Tensor]) -> "Observations":
        """The same with every tensor replaced by `change` of it."""
        return replace(
            self,
            joints=change(self.joints),
            confidence=change(self.confidence),
            camera=self.camera and self.camera.map(change),
            truth=None if self.truth is None else change(self.truth),
            also=tuple(other.map(change) for other in self.also),
        )

    def first(self, frames: int) -> "Observations":
        """The first frames alone."""
        return replace(
            self,
            joints=self.joints[..., :frames, :, :],
            confidence=self.confidence[..., :frames, :],
            truth=None if self.truth is None else self.truth[..., :frames, :, :],
            also=tuple(other.first(frames) for other in self.also),
        )

    def residuals(self, points: Float[Tensor, "*batch frames J 3"]) -> Float[Tensor, "*batch frames J D"]:
        """Points of the world (metres) less the observed ones, in standard deviations; 0 where one is missing."""
        residuals = (points if self.camera is None else self.camera.project(points)) - self.joints
        return (residuals / self.noise).masked_fill(self.confidence.unsqueeze(-1) <= 0, 0)

    def distances(self, surface: Float[Tensor, "*batch frames V 3"]) -> Float[Tensor, "*batch frames J"]:
        """From each observed point to the nearest of some vertices, in standard deviations; 0 where it is missing."""
        nearest = torch.cdist(self.joints, surface).amin(-1)
        return (nearest / self.noise).masked_fill(self.confidence <= 0, 0)


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
