"""The three kinds of parts that stand between a client's update and the server's next state.

They see *changes*: for every learnable tensor, what the client sends up less what came down under
the same name, or the tensor itself where nothing came down (SCAFFOLD's control variates are changes
already). Buffers and frozen tensors travel as they are.

An example: a model of one weight that goes down as 1.0 and comes back from a client as 3.0 has the
change 2.0. ``clip`` with norm 0.5 makes it 0.5, ``int8`` sends it as one byte and a scale, and the
server, which knows the 1.0, hands 1.5 to the method's `aggregate`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch

from fedlab.config.component import Component
from fedlab.records import Tensors

Changes = dict[str, Tensors]
"""Changes by record and name; ``arrays`` is the model's."""


class UpdateTransform(Component):
    """Changes a client's update on the client, before it is compressed and sent."""

    group: ClassVar[str] = "update_transforms"

    @abstractmethod
    def transform(self, changes: Changes, generator: torch.Generator) -> Changes:
        """The changes that the client sends instead.

        Args:
            changes: The client's, which may not be written to.
            generator: Randomness of this client and round alone, on the CPU.
        """


class Compression(Component):
    """Packs one tensor of changes into fewer bytes on the client, and unpacks it on the server.

    Attributes:
        feedback: Whether what a client could not send is added to its next change. A client that
            sits out rounds sends it when it takes part again.
    """

    group: ClassVar[str] = "compressions"
    feedback: bool = False

    @abstractmethod
    def encode(self, change: torch.Tensor, generator: torch.Generator) -> Tensors:
        """The tensors that travel.

        Args:
            change: One tensor of changes, of any shape, in float32 or another float type.
            generator: Randomness of this client and round alone, on the CPU.

        Returns:
            Tensors by name; the same names, types and shapes for every change of one shape.
        """

    @abstractmethod
    def decode(self, encoded: Tensors, shape: torch.Size) -> torch.Tensor:
        """The change, as far as it was sent, in float32 of shape `shape`."""


class AggregationRule(Component):
    """How the clients' tensors become one, in the place of the weighted mean.

    Attributes:
        weighted: Whether the rule heeds what clients count; otherwise all must count the same.
    """

    group: ClassVar[str] = "aggregation_rules"
    weighted: ClassVar[bool] = False

    @abstractmethod
    def combine(self, tensors: torch.Tensor, weights: Sequence[float]) -> torch.Tensor:
        """One tensor out of several.

        Args:
            tensors: float64 of shape (clients, ...), in the order of client indices.
            weights: What each client counts, one number per client.

        Returns:
            A tensor of shape (...).
        """

    def least(self, clients: int) -> str:
        """Why so many clients are too few for the rule; empty if they are enough."""
        return ""
