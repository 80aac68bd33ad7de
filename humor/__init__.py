"""HuMoR's body model, motion model and loss: the small library that `pytest bench` measures.

The small library is the modules beside this file. What trains, generates, lifts and studies with it is in folders,
which are imported when first used: `humor.data`, `humor.training`, `humor.motion`, `humor.lifting`, `humor.study`.
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
    """Import a folder when it is first used, so that `humor.data.process_clip` works after `import humor`."""
    if name in _FOLDERS:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
