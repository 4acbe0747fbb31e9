"""Experiment trackers that follow a run while it is under way."""
