"""From 2D joints of a video to 3D joints: the two networks that the study weighed before it chose HuMoR."""

from .cameras import NOISES, Camera, Noise
from .motion import LiftingBatch, LiftingMotion
from .networks import NETWORKS, PoseFormer, PoseFormerV2

__all__ = [
    "NETWORKS",
    "NOISES",
    "Camera",
    "LiftingBatch",
    "LiftingMotion",
    "Noise",
    "PoseFormer",
    "PoseFormerV2",
]
