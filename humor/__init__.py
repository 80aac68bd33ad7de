"""HuMoR's body model, motion model and loss: the small library that `pytest bench` measures.

Everything of it lies flat beside this file. What trains, generates, lifts and reports with it is in folders of its
own, loaded by name or when first asked for: `humor.data`, `humor.training`, `humor.motion`, `humor.lifting`,
`humor.study`.
"""

from importlib import import_module
from types import ModuleType

from . import model, rotations
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
    "model",
    "rotations",
]
_FOLDERS = ("data", "lifting", "motion", "study", "training")


def __getattr__(name: str) -> ModuleType:
    """Load one of the folders when it is first asked for: `humor.data.process_clip` needs no import of its own."""
    if name in _FOLDERS:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
