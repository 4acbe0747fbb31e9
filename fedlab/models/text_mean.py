"""The mean of word embeddings, and a dense layer.

Joulin, Grave, Bojanowski and Mikolov, "Bag of Tricks for Efficient Text Classification" (fastText),
EACL 2017, arXiv 1607.01759, without n-grams.
"""

from __future__ import annotations

from typing import Literal

from pydantic import PositiveInt
from torch import Tensor, nn

from fedlab.models.input_shape import known_ids
from fedlab.models.sequence_stem import Tokens, mean_of_steps
from fedlab.models.spec import ModelSpec


class MeanNetwork(nn.Module):
    """Embedding, mean, a dense layer.

    Args:
        begin: Gives vectors of ids.
        head: The dense layer.
    """

    def __init__(self, begin: Tokens, head: nn.Linear) -> None:
        super().__init__()
        self.begin, self.head = begin, head

    def forward(self, ids: Tensor) -> Tensor:
        """Ids of shape (batch, length) -> outputs of shape (batch, classes)."""
        return self.head(mean_of_steps(*self.begin(ids)))


class TextMean(ModelSpec):
    """The mean of the embeddings of all ids except padding, and a dense layer.

    It knows no order: what a transformer or a recurrent network has to beat.

    Attributes:
        width: Numbers of a vector.
    """

    name: Literal["text_mean"] = "text_mean"
    width: PositiveInt = 64

    def network(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """The network.

        Raises:
            InputError: If samples are not ids.
        """
        _, vocabulary, pad = known_ids(self.name, input_shape)
        return MeanNetwork(Tokens(vocabulary, self.width, pad), nn.Linear(self.width, classes))
