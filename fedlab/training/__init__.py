"""A client's local round: objective, steps, optimiser."""
