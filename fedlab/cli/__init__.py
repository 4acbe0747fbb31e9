"""The command line: a few lines for each verb. PyTorch and Flower are imported when needed."""

from importlib import import_module

from fedlab.cli.app import app, main

MODULES = (
    "running",
    "comparing",
    "tuning",
    "looking",
    "checking",
    "copying",
    "reporting",
    "adapting",
    "adapting_to_tests",
    "auditing",
    "forgetting",
    "discovering",
    "exporting",
    "devices",
)
"""Each adds its verbs to the app; ``fedlab --help`` lists them in this order."""

for module in MODULES:
    import_module(f"fedlab.cli.{module}")

__all__ = ["app", "main"]
