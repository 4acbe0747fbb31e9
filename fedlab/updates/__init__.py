"""Transformations of updates between a client's `finish` and the server's `aggregate`.

They work with any method. Custom ones subclass `UpdateTransform`, `Compression` or
`AggregationRule`.
"""

from typing import TYPE_CHECKING

from fedlab.lazy import doors

if TYPE_CHECKING:
    from fedlab.updates.base import AggregationRule as AggregationRule
    from fedlab.updates.base import Compression as Compression
    from fedlab.updates.base import UpdateTransform as UpdateTransform

__all__ = ["AggregationRule", "Compression", "UpdateTransform"]

__getattr__, __dir__ = doors(
    __name__,
    {
        "AggregationRule": "fedlab.updates.base",
        "Compression": "fedlab.updates.base",
        "UpdateTransform": "fedlab.updates.base",
    },
)
