"""The bodies and motion that commands use by default are made once."""

from functools import cache

import pytest

import humor.cli.motion


@pytest.fixture(autouse=True, scope="module")
def defaults_made_once():
    with pytest.MonkeyPatch.context() as patched:
        for name in ("load_bodies", "load_bodies_and_store"):
            patched.setattr(humor.cli.motion, name, cache(getattr(humor.cli.motion, name)))
        yield
