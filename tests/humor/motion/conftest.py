"""The bodies and motion that commands use by default are made once."""

from functools import cache

import pytest

import humor.cli.fitting
import humor.cli.motion


@pytest.fixture(autouse=True, scope="module")
def defaults_made_once():
    with pytest.MonkeyPatch.context() as patched:
        for module, name in ((humor.cli.fitting, "load_bodies"), (humor.cli.motion, "load_bodies_and_store")):
            patched.setattr(module, name, cache(getattr(module, name)))
        yield
