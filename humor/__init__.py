"""HuMoR's motion model, its loss and its data, written to be measured."""

from . import data, lifting, rotations, training
from .body import BodyModel
from .errors import HumorError
from .losses import HumorLoss, LossWeights
from .model import HumorModel
from .precision import Precision
from .state import MotionState

__all__ = [
    "BodyModel",
    "HumorError",
    "HumorLoss",
    "HumorModel",
    "LossWeights",
    "MotionState",
    "Precision",
    "data",
    "lifting",
    "rotations",
    "training",
]
