"""The networks that a scenario can name, the rules for their normalisation layers, and surgery."""
