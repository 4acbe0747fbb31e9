"""Networks of dense layers, for images, tables and numbers of any other shape."""

from __future__ import annotations

from itertools import pairwise
from math import prod
from typing import Literal

from pydantic import Field, PositiveInt
from torch import nn

from fedlab.models.input_shape import refuse_ids
from fedlab.models.spec import ModelSpec


class Linear(ModelSpec):
    """Multinomial logistic regression."""

    name: Literal["linear"] = "linear"

    def network(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """One dense layer on the flattened input.

        Raises:
            InputError: If samples are ids.
        """
        refuse_ids(self.name, input_shape)
        return nn.Sequential(nn.Flatten(), nn.Linear(prod(input_shape), classes))


class MLP(ModelSpec):
    """A multi-layer perceptron with rectified linear units.

    Attributes:
        hidden: Widths of the hidden layers.
    """

    name: Literal["mlp"] = "mlp"
    hidden: tuple[PositiveInt, ...] = Field(default=(128,), min_length=1)

    def network(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """Dense layers on the flattened input, without normalisation.

        Raises:
            InputError: If samples are ids.
        """
        refuse_ids(self.name, input_shape)
        layers: list[nn.Module] = [nn.Flatten()]
        for narrow, wide in pairwise((prod(input_shape), *self.hidden)):
            layers += [nn.Linear(narrow, wide), nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(self.hidden[-1], classes))
