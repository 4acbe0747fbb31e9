"""The folder of a run: its files, its lock, and reading its results."""

from typing import TYPE_CHECKING

from fedlab.lazy import doors

if TYPE_CHECKING:
    from fedlab.row import Row as Row
    from fedlab.runs.run import Run as Run
    from fedlab.runs.run import load_run as load_run

__all__ = [
    "Row",
    "Run",
    "load_run",
]

__getattr__, __dir__ = doors(
    __name__,
    {
        "Row": "fedlab.row",
        "Run": "fedlab.runs.run",
        "load_run": "fedlab.runs.run",
    },
)
