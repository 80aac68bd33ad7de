"""A procedural walker, as the arrays of AMASS files: the default motion where no recording is given."""

from .walker import synthetic_clip, synthetic_clips

__all__ = ["synthetic_clip", "synthetic_clips"]
