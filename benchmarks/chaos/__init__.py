"""Jobs over HTTP while everything that runs is killed in turn: see ``python -m benchmarks.chaos``."""
