"""What a step would take on a GPU that is not here: peaks, a cost model, predictions."""
