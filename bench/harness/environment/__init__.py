"""The machine, its software and settings, and what disturbs it."""
