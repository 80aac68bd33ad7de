"""Motion made by a trained network: generated, reconstructed, and fitted to observations."""
