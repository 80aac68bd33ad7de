"""From 2D joints of a video to 3D joints: the two networks that the study weighed before it chose HuMoR."""

from .cameras import NOISES, Camera, Noise
from .networks import NETWORKS, PoseFormer, PoseFormerV2
from .windows import LiftingBatch, LiftingMotion

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
