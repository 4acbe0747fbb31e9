"""Learning targets: a class, several labels, or numbers for each sample.

A target of one's own subclasses `Target`.
"""

from typing import TYPE_CHECKING

from fedlab.lazy import doors

if TYPE_CHECKING:
    from fedlab.targets.base import Target as Target

__all__ = ["Target"]

__getattr__, __dir__ = doors(__name__, {"Target": "fedlab.targets.base"})
