"""The version of fedlab: what ``pyproject.toml`` says, as it was installed."""

from importlib.metadata import version

__version__ = version("fedlab-sim")
