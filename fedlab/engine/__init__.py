"""The simulator: Flower grids that answer messages with client trainers, in process or on Ray."""
