"""Measurements: the paper's figures, and speed against peers. Nothing of the service imports this."""
