"""Motion from files or from rules, processed and cut into windows."""

from .amass import RawClip, read_amass
from .processing import Clip, process_clip
from .windows import Window, WindowBatch, evaluation_windows, training_windows

__all__ = [
    "Clip",
    "RawClip",
    "Window",
    "WindowBatch",
    "evaluation_windows",
    "process_clip",
    "read_amass",
    "training_windows",
]
