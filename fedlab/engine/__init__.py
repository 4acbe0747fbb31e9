"""The simulator: Flower grids that answer messages with local halves, in process or on Ray."""
