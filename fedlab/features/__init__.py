"""Extractors: frozen networks whose features replace images.

An extractor of one's own subclasses `FrozenNetwork` or, for anything else, `Extractor`.
"""

from typing import TYPE_CHECKING

from fedlab.lazy import doors

if TYPE_CHECKING:
    from fedlab.features.base import ExtractionContext as ExtractionContext
    from fedlab.features.base import Extractor as Extractor
    from fedlab.features.frozen import Backbone as Backbone
    from fedlab.features.frozen import FrozenNetwork as FrozenNetwork

__all__ = [
    "Backbone",
    "ExtractionContext",
    "Extractor",
    "FrozenNetwork",
]

__getattr__, __dir__ = doors(
    __name__,
    {
        "Backbone": "fedlab.features.frozen",
        "ExtractionContext": "fedlab.features.base",
        "Extractor": "fedlab.features.base",
        "FrozenNetwork": "fedlab.features.frozen",
    },
)
