"""The base of every network that a scenario can name."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar, Literal

from torch import nn

from fedlab.config.component import Component


class ModelSpec(Component):
    """A network's name and its parameters; `fedlab.models.build.build_model` makes the module.

    Attributes:
        norm: What takes the place of each batch normalisation: ``batch`` keeps it, ``group`` and
            ``layer`` put group or layer normalisation there, ``none`` nothing.
        head: Path of the dense layer that makes the outputs, for methods that treat it by itself;
            by default it is found by running the network.
    """

    group: ClassVar[str] = "models"
    norm: Literal["batch", "group", "layer", "none"] = "batch"
    head: str | None = None
    taken: ClassVar[frozenset[str]] = frozenset()
    """Keys of these that a network of somebody's own has taken for an argument of its own."""

    @classmethod
    def block_of(cls, target: Any) -> Any:
        """The class that reads a model's block; that of a plain module is made of its arguments."""
        from fedlab.models.user_module import makes_modules, plain_network

        return plain_network(target) if makes_modules(target) else super().block_of(target)

    @abstractmethod
    def network(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """The network as its paper draws it (with batch normalisation, where it has any).

        Args:
            input_shape: (channels, height, width) or (features,).
            classes: Number of outputs.

        Raises:
            InputError: If the network cannot take inputs of that shape.
        """
