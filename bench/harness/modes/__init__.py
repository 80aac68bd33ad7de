"""What a run does in place of timing each case once."""
