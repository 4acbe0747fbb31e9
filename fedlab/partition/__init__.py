"""Partitions of samples among clients: the computations that all skews share."""
