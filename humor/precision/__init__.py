"""Precisions of the network: presets, half-precision weights, float8, and half precision on CPUs without it."""

from .presets import PRESETS, Precision, PrecisionName

__all__ = ["PRESETS", "Precision", "PrecisionName"]
