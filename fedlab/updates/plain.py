"""The defaults of the ``updates`` block: no compression, and the weighted mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Self

import torch
from pydantic import model_validator

from fedlab.records import Tensors
from fedlab.updates.base import AggregationRule, Compression


class NoCompression(Compression):
    """Sends updates uncompressed."""

    name: str = "none"

    @model_validator(mode="after")
    def _leaves_nothing_out(self) -> Self:
        if self.feedback:
            raise ValueError(
                "feedback true would have no effect: without compression there is no error to "
                "make up for; leave it out, or name a compression such as int8"
            )
        return self

    def encode(self, change: torch.Tensor, generator: torch.Generator) -> Tensors:
        """The change itself."""
        return {"values": change}

    def decode(self, encoded: Tensors, shape: torch.Size) -> torch.Tensor:
        """The change itself."""
        return encoded["values"].float()


class Mean(AggregationRule):
    """The weighted mean, the default of all methods."""

    name: str = "mean"
    weighted: ClassVar[bool] = True

    def combine(self, tensors: torch.Tensor, weights: Sequence[float]) -> torch.Tensor:
        """Σ w_k x_k / Σ w_k."""
        scaled = torch.tensor(weights, dtype=tensors.dtype).view(-1, *[1] * (tensors.dim() - 1))
        return (tensors * scaled).sum(dim=0) / sum(weights)
