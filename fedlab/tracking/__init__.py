"""Experiment trackers that follow a run.

A tracker of one's own subclasses `Tracker`.
"""

from typing import TYPE_CHECKING

from fedlab.lazy import doors

if TYPE_CHECKING:
    from fedlab.tracking.base import Tracker as Tracker
    from fedlab.tracking.base import TrackerParameters as TrackerParameters

__all__ = [
    "Tracker",
    "TrackerParameters",
]

__getattr__, __dir__ = doors(
    __name__,
    {
        "Tracker": "fedlab.tracking.base",
        "TrackerParameters": "fedlab.tracking.base",
    },
)
