"""A walker made by rule, with AMASS's names: what the suite moves when nobody gave it recorded motion."""

from .walker import synthetic_clip, synthetic_clips

__all__ = ["synthetic_clip", "synthetic_clips"]
