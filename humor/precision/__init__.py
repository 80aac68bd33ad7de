"""Number formats for the network: presets, weights kept in half, float8, and half precision on CPUs without it."""

from .presets import PRESETS, Precision, PrecisionName

__all__ = ["PRESETS", "Precision", "PrecisionName"]
