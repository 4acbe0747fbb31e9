"""Samples: sources that read them, looks, preprocessing.

A source of one's own subclasses `Source`; a look subclasses `Transform`.
"""

from typing import TYPE_CHECKING

from fedlab.lazy import doors

if TYPE_CHECKING:
    from fedlab.data.load import load_data as load_data
    from fedlab.data.samples import Domain as Domain
    from fedlab.data.samples import FederatedData as FederatedData
    from fedlab.data.samples import Samples as Samples
    from fedlab.data.source import LoadContext as LoadContext
    from fedlab.data.source import Source as Source
    from fedlab.data.transform import Transform as Transform

__all__ = [
    "Domain",
    "FederatedData",
    "LoadContext",
    "Samples",
    "Source",
    "Transform",
    "load_data",
]

__getattr__, __dir__ = doors(
    __name__,
    {
        "Domain": "fedlab.data.samples",
        "FederatedData": "fedlab.data.samples",
        "LoadContext": "fedlab.data.source",
        "Samples": "fedlab.data.samples",
        "Source": "fedlab.data.source",
        "Transform": "fedlab.data.transform",
        "load_data": "fedlab.data.load",
    },
)
