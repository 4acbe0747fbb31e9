"""Networks and their analysis.

Any `torch.nn.Module` can be used; a network with its own block and checks subclasses `ModelSpec`.
"""

from typing import TYPE_CHECKING

from fedlab.lazy import doors

if TYPE_CHECKING:
    from fedlab.models.adapters.base import Adapter as Adapter
    from fedlab.models.anatomy import anatomy_of as anatomy_of
    from fedlab.models.build import build_model as build_model
    from fedlab.models.input_shape import image_shape as image_shape
    from fedlab.models.input_shape import known_ids as known_ids
    from fedlab.models.input_shape import series_shape as series_shape
    from fedlab.models.input_shape import volume_shape as volume_shape
    from fedlab.models.norms import NormPolicy as NormPolicy
    from fedlab.models.spec import ModelSpec as ModelSpec

__all__ = [
    "Adapter",
    "ModelSpec",
    "NormPolicy",
    "anatomy_of",
    "build_model",
    "image_shape",
    "known_ids",
    "series_shape",
    "volume_shape",
]

__getattr__, __dir__ = doors(
    __name__,
    {
        "Adapter": "fedlab.models.adapters.base",
        "ModelSpec": "fedlab.models.spec",
        "NormPolicy": "fedlab.models.norms",
        "anatomy_of": "fedlab.models.anatomy",
        "build_model": "fedlab.models.build",
        "image_shape": "fedlab.models.input_shape",
        "known_ids": "fedlab.models.input_shape",
        "series_shape": "fedlab.models.input_shape",
        "volume_shape": "fedlab.models.input_shape",
    },
)
