"""The suite: what measures."""
