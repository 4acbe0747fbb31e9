"""A client's local round: what is minimised, by what steps, with which optimiser."""
