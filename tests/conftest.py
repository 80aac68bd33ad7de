"""Shapes and types of every public function are checked while the tests run."""

from jaxtyping import install_import_hook

with install_import_hook("humor", "beartype.beartype"):
    import humor  # noqa: F401
