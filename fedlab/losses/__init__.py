"""What outputs are judged by.

A loss of one's own subclasses `Loss`.
"""

from typing import TYPE_CHECKING

from fedlab.lazy import doors

if TYPE_CHECKING:
    from fedlab.losses.base import Loss as Loss
    from fedlab.losses.base import Profile as Profile

__all__ = [
    "Loss",
    "Profile",
]

__getattr__, __dir__ = doors(
    __name__,
    {
        "Loss": "fedlab.losses.base",
        "Profile": "fedlab.losses.base",
    },
)
