"""Smooths signals."""

from .smoothing import smooth as smooth
