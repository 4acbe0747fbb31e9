"""The base of every network that a scenario can name."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Literal

from torch import nn

from fedlab.component import Component


class ModelSpec(Component):
    """A network's name and its parameters; `fedlab.models.build.build_model` makes the module.

    Attributes:
        norm: What takes the place of each batch normalisation: ``batch`` keeps it, ``group`` and
            ``layer`` put group or layer normalisation there, ``none`` nothing.
    """

    group: ClassVar[str] = "models"
    norm: Literal["batch", "group", "layer", "none"] = "batch"

    @abstractmethod
    def network(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """The network as its paper draws it (with batch normalisation, where it has any).

        Args:
            input_shape: (channels, height, width) or (features,).
            classes: Number of outputs.

        Raises:
            InputError: If the network cannot take inputs of that shape.
        """
