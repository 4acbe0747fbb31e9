"""Samples: sources that read them, transforms that make domains, preprocessing.

A source of one's own subclasses `Source`; a look subclasses `Transform`.
"""

from typing import TYPE_CHECKING

from fedlab.lazy import doors

if TYPE_CHECKING:
    from fedlab.data.ids import Ids as Ids
    from fedlab.data.load import load_data as load_data
    from fedlab.data.samples import Domain as Domain
    from fedlab.data.samples import FederatedData as FederatedData
    from fedlab.data.samples import Samples as Samples
    from fedlab.data.source import LoadContext as LoadContext
    from fedlab.data.source import Source as Source
    from fedlab.data.transform import Transform as Transform
    from fedlab.data.vocabulary import Bytes as Bytes
    from fedlab.data.vocabulary import Characters as Characters
    from fedlab.data.vocabulary import TokenizerFile as TokenizerFile
    from fedlab.data.vocabulary import Words as Words
    from fedlab.data.vocabulary import encode as encode

__all__ = [
    "Bytes",
    "Characters",
    "Domain",
    "FederatedData",
    "Ids",
    "LoadContext",
    "Samples",
    "Source",
    "TokenizerFile",
    "Transform",
    "Words",
    "encode",
    "load_data",
]

__getattr__, __dir__ = doors(
    __name__,
    {
        "Bytes": "fedlab.data.vocabulary",
        "Characters": "fedlab.data.vocabulary",
        "Domain": "fedlab.data.samples",
        "FederatedData": "fedlab.data.samples",
        "Ids": "fedlab.data.ids",
        "LoadContext": "fedlab.data.source",
        "Samples": "fedlab.data.samples",
        "Source": "fedlab.data.source",
        "TokenizerFile": "fedlab.data.vocabulary",
        "Transform": "fedlab.data.transform",
        "Words": "fedlab.data.vocabulary",
        "encode": "fedlab.data.vocabulary",
        "load_data": "fedlab.data.load",
    },
)
