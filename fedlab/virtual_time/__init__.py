"""Simulated devices: how fast clients are, when they are there, and a clock that knows."""
