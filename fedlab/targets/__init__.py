"""What is to be learnt of a sample: a class, labels that hold or not, or numbers.

A target of one's own subclasses `Target`.
"""

from typing import TYPE_CHECKING

from fedlab.lazy import doors

if TYPE_CHECKING:
    from fedlab.targets.base import Target as Target

__all__ = ["Target"]

__getattr__, __dir__ = doors(__name__, {"Target": "fedlab.targets.base"})
