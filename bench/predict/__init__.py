"""Predicted times on a GPU that is not at hand: its peaks, a cost model, and the predictions."""
