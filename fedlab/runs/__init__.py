"""The folder of a run: what is in it, who may write to it, and what can be read from it."""
