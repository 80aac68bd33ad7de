"""Shapes and types of every public function are checked while the tests run."""

from hypothesis import settings
from jaxtyping import install_import_hook

with install_import_hook("humor", "beartype.beartype"):
    import humor  # noqa: F401

settings.register_profile("humor", deadline=None, max_examples=30, derandomize=True)
settings.load_profile("humor")

collect_ignore = ["support/foreign_project"]  # another project, which test_foreign_project.py runs
