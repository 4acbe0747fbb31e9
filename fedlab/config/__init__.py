"""How an experiment is written down: components, scenario files, overrides, error messages."""
