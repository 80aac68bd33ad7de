"""Lift 2D joints of a video to 3D: the two networks that the study considered before it chose HuMoR."""

from .cameras import NOISES, Noise, PinholeCameras
from .networks import NETWORKS, PoseFormer, PoseFormerV2
from .windows import LiftingBatch, LiftingWindows

__all__ = [
    "NETWORKS",
    "NOISES",
    "LiftingBatch",
    "LiftingWindows",
    "Noise",
    "PinholeCameras",
    "PoseFormer",
    "PoseFormerV2",
]
