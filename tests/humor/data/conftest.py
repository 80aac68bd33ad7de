"""Clips of every kind, and a store of them."""

from dataclasses import replace

import pytest

from humor.data import MotionStore, synthetic_motion
from humor.skeleton import GENDERS
from tests.support.clip_parts import LENGTHS, part


@pytest.fixture(scope="module")
def clips(bodies):
    """Three genders, and lengths that differ; one too short for a window."""
    made = [part(clip, frames) for clip, frames in zip(synthetic_motion(bodies, 6), LENGTHS, strict=True)]
    return [
        replace(clip, name=f"{'CMU' if n % 2 else 'KIT'}/{n}", gender=GENDERS[n % 3]) for n, clip in enumerate(made)
    ]


@pytest.fixture(scope="module")
def store(clips):
    return MotionStore.in_memory(clips)
