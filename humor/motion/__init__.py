"""Motion from a trained network: generated, reconstructed, and fitted to observations."""
