"""Motion from files or from rules: processed, stored, and cut into windows."""

from .amass import RawClip, read_amass
from .batches import BatchLoader, WindowSampler
from .loading import load_bodies, load_bodies_and_store, load_clips, synthetic_motion
from .processing import Clip, process_clip
from .store import ClipInfo, MotionStore
from .windows import Window, WindowBatch, evaluation_windows

__all__ = [
    "BatchLoader",
    "Clip",
    "ClipInfo",
    "MotionStore",
    "RawClip",
    "Window",
    "WindowBatch",
    "WindowSampler",
    "evaluation_windows",
    "load_bodies",
    "load_bodies_and_store",
    "load_clips",
    "process_clip",
    "read_amass",
    "synthetic_motion",
]
