"""The work of a call, counted exactly."""
