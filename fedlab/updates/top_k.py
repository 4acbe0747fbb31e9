"""Top-k sparsification with memory: only the largest changes are sent.

Sparsified SGD with Memory, Stich, Cordonnier, Jaggi, NeurIPS 2018, arXiv 1809.07599 (algorithm 1:
top-k with memory).
"""

from __future__ import annotations

import math

import torch
from pydantic import Field

from fedlab.records import Tensors
from fedlab.updates.base import Compression


class TopK(Compression):
    """The k changes of largest magnitude of each tensor, with their indices.

    A tensor of d numbers takes 8 k bytes: a float32 and an int32 each.

    Attributes:
        share: k / d; at least one number of each tensor is sent.
        feedback: Whether omitted changes are added to the client's next change (memory);
            otherwise small changes are lost.
    """

    name: str = "top_k"
    share: float = Field(default=0.1, gt=0, le=1)
    feedback: bool = True

    def encode(self, change: torch.Tensor, generator: torch.Generator) -> Tensors:
        """``values`` float32 and ``places`` int32, both of shape (k,), by ascending index."""
        flat = change.flatten().float()
        count = min(max(1, math.ceil(self.share * flat.numel())), flat.numel())
        # A stable sort, so that ties are resolved the same on every machine.
        order = flat.abs().sort(descending=True, stable=True).indices[:count]
        places = order.sort().values
        return {"values": flat[places], "places": places.to(torch.int32)}

    def decode(self, encoded: Tensors, shape: torch.Size) -> torch.Tensor:
        """The changes that were sent, and zeros for the others."""
        flat = encoded["values"].new_zeros(shape.numel(), dtype=torch.float32)
        return flat.index_put((encoded["places"].long(),), encoded["values"].float()).view(shape)
