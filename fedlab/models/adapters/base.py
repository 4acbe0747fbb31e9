"""The base of adapters: additions to a network's layers that learn in place of the layers."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Literal

from torch import nn

from fedlab.config.component import Component


class Adapter(Component):
    """Additions to a network: they and the head learn, all other parameters are frozen.

    An adapter of one's own is a subclass named by its Python path, ``my_module:MyAdapter``.
    """

    group: ClassVar[str] = "adapters"

    @abstractmethod
    def add_to(self, model: nn.Module, head: str | None) -> Sequence[str]:
        """Adds to the layers of a network, in place.

        What the network computes must not change before the additions have learnt, nor may names
        of its tensors. PyTorch's generators are seeded by the caller.

        Args:
            model: The network.
            head: The path of the head, which learns whole; None if it has none.

        Returns:
            Names of the parameters that learn, besides the head's.

        Raises:
            InputError: If the network has no layer of the kind.
        """


class NoAdapter(Adapter):
    """No adapter: the whole network learns, or what ``model.freeze`` leaves of it."""

    name: Literal["none"] = "none"

    def add_to(self, model: nn.Module, head: str | None) -> Sequence[str]:
        """See `Adapter.add_to`."""
        return [name for name, _ in model.named_parameters()]
