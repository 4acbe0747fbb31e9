"""A device of a deployment: its data, its state, its answers."""
