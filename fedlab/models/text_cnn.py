"""A convolutional network for texts.

Kim, "Convolutional Neural Networks for Sentence Classification", EMNLP 2014, arXiv 1408.5882,
section 2, with learnt vectors and without dropout.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from fedlab.errors import InputError
from fedlab.models.input_shape import known_ids
from fedlab.models.sequence_stem import Tokens
from fedlab.models.spec import ModelSpec


class PhraseNetwork(nn.Module):
    """Embedding, convolutions over phrases of several lengths, max pooling, a dense layer.

    Args:
        begin: Gives vectors of ids.
        phrases: The convolutions.
        head: The dense layer.
    """

    def __init__(self, begin: Tokens, phrases: list[nn.Module], head: nn.Linear) -> None:
        super().__init__()
        self.begin, self.phrases, self.head = begin, nn.ModuleList(phrases), head

    def forward(self, ids: Tensor) -> Tensor:
        """Ids of shape (batch, length) -> outputs of shape (batch, classes)."""
        vectors, _ = self.begin(ids)
        found = [torch.relu(each(vectors.transpose(1, 2))).amax(dim=2) for each in self.phrases]
        return self.head(torch.cat(found, dim=1))


class TextCNN(ModelSpec):
    """Convolutions over phrases of several lengths, the largest value of each, a dense layer.

    The vector of an id that fills up is zero.

    Attributes:
        width: Numbers of an id's vector.
        phrases: Lengths of the phrases.
        filters: Convolutions for each length.
    """

    name: Literal["text_cnn"] = "text_cnn"
    width: PositiveInt = 64
    phrases: tuple[PositiveInt, ...] = Field(default=(3, 4, 5), min_length=1)
    filters: PositiveInt = 64

    def network(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """The network.

        Raises:
            InputError: If samples are not ids, or shorter than a phrase.
        """
        length, vocabulary, pad = known_ids(self.name, input_shape)
        if length < max(self.phrases):
            raise InputError(
                f"model.phrases: there are phrases of {max(self.phrases)} ids, and a sample has "
                f"{length}; give shorter ones, or raise data.ids.length"
            )
        return PhraseNetwork(
            Tokens(vocabulary, self.width, pad),
            [nn.Conv1d(self.width, self.filters, size) for size in self.phrases],
            nn.Linear(self.filters * len(self.phrases), classes),
        )
