"""A pytest plugin on top of pytest-benchmark: device-correct timing, counted work, and rules for what runs where."""
