"""Loss functions.

A custom loss subclasses `Loss`.
"""

from typing import TYPE_CHECKING

from fedlab.lazy import doors

if TYPE_CHECKING:
    from fedlab.losses.base import ClientStats as ClientStats
    from fedlab.losses.base import Loss as Loss

__all__ = [
    "ClientStats",
    "Loss",
]

__getattr__, __dir__ = doors(
    __name__,
    {
        "Loss": "fedlab.losses.base",
        "ClientStats": "fedlab.losses.base",
    },
    renamed={"Profile": "ClientStats"},
)
