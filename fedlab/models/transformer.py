"""A small transformer encoder for ids and series.

Vaswani et al., "Attention Is All You Need", NeurIPS 2017, arXiv 1706.03762, section 3, with the
normalisation before each part (Xiong et al., ICML 2020, arXiv 2002.04745), learnt positions and the
mean of all steps in front of the dense layer.
"""

from __future__ import annotations

from math import sqrt
from typing import Literal

import torch
from pydantic import PositiveInt, model_validator
from torch import Tensor, nn

from fedlab.models.sequence_stem import mean_of_steps, stem
from fedlab.models.spec import ModelSpec

NEVER = -1e9
"""Added to the score of a step that only fills up; finite, for a sample may have no other."""


class Attention(nn.Module):
    """softmax(Q Kᵀ / √d) V for several heads, over steps that are not padding.

    Written out, for the fused operators of PyTorch cannot be stacked by `torch.func.vmap`.

    Args:
        width: Numbers of a vector.
        heads: Parts into which it is divided.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.project = nn.Linear(width, 3 * width)
        self.join = nn.Linear(width, width)

    def forward(self, vectors: Tensor, there: Tensor) -> Tensor:
        """Vectors of shape (batch, length, width) -> the same shape."""
        batch, length, width = vectors.shape
        parted = self.project(vectors).view(batch, length, 3, self.heads, width // self.heads)
        query, key, value = parted.permute(2, 0, 3, 1, 4)
        scores = query @ key.transpose(-2, -1) / sqrt(width // self.heads)
        weights = torch.softmax(scores + NEVER * (1 - there[:, None, None]), dim=-1)
        return self.join((weights @ value).transpose(1, 2).reshape(batch, length, width))


class TransformerBlock(nn.Module):
    """x + attention(norm(x)), then x + dense(norm(x)).

    Args:
        width: Numbers of a vector.
        heads: Heads of the attention.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.dense = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, vectors: Tensor, there: Tensor) -> Tensor:
        """Vectors of shape (batch, length, width) -> the same shape."""
        vectors = vectors + self.attention(self.norm1(vectors), there)
        return vectors + self.dense(self.norm2(vectors))


class Encoder(nn.Module):
    """Vectors with their positions, blocks, and a dense layer on the mean of all steps.

    Args:
        begin: Gives vectors of the samples (see `fedlab.models.sequence_stem`).
        length: Steps of a sample.
        width: Numbers of a vector.
        layers: Number of blocks.
        heads: Heads of the attention.
        classes: Number of outputs.
    """

    def __init__(
        self, begin: nn.Module, length: int, width: int, layers: int, heads: int, classes: int
    ) -> None:
        super().__init__()
        self.begin = begin
        self.positions = nn.Embedding(length, width)
        nn.init.normal_(self.positions.weight, std=0.02)
        self.blocks = nn.ModuleList([TransformerBlock(width, heads) for _ in range(layers)])
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)

    def forward(self, inputs: Tensor) -> Tensor:
        """Samples -> outputs of shape (batch, classes)."""
        vectors, there = self.begin(inputs)
        vectors = vectors + self.positions(torch.arange(vectors.shape[1], device=vectors.device))
        for block in self.blocks:
            vectors = block(vectors, there)
        return self.head(mean_of_steps(self.norm(vectors), there))


class Transformer(ModelSpec):
    """A transformer encoder over ids or a series, and a dense layer on the mean of its steps.

    Ids that only fill up are neither attended to nor in the mean. Without dropout, so that many
    clients train as one. About 86 thousand parameters beside the vectors of ids.

    Attributes:
        width: Numbers of a vector.
        layers: Number of blocks.
        heads: Heads of the attention; they divide `width`.
    """

    name: Literal["transformer"] = "transformer"
    width: PositiveInt = 64
    layers: PositiveInt = 2
    heads: PositiveInt = 4

    @model_validator(mode="after")
    def _heads_divide_the_width(self) -> Transformer:
        if self.width % self.heads:
            raise ValueError(
                f"heads {self.heads} do not divide width {self.width}; give a width that is a "
                "multiple of them"
            )
        return self

    def network(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """The network.

        Raises:
            InputError: If samples are neither ids nor series (channels, length).
        """
        begin, width, length = stem(self.name, input_shape, self.width, projects=True)
        return Encoder(begin, length, width, self.layers, self.heads, classes)
