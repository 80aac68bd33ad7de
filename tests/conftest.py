"""Shapes and types of every public function are checked while the tests run, and warnings are errors in them."""

import os
import warnings
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from jaxtyping import install_import_hook

with install_import_hook("humor", "beartype.beartype"):
    import humor  # noqa: F401

TESTS = Path(__file__).parent

settings.register_profile("humor", deadline=None, max_examples=30, derandomize=True)
settings.load_profile("humor")

collect_ignore = ["support/foreign_project"]  # another project, which test_foreign_project.py runs

# The tests' tensors are small, and threads of processes that run side by side wait for each other.
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"
# pytest-benchmark measures nothing where it finds pytest-xdist, and so in the processes that a test starts.
os.environ.pop("PYTEST_XDIST_WORKER", None)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    """What a test's module warns of when it is imported is an error; what pytest and its plugins warn of is shown."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return (yield)


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.is_relative_to(TESTS):
            item.add_marker(pytest.mark.filterwarnings("error"), append=False)
