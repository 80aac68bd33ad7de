"""Training: one step in named phases, and the loop around it."""
