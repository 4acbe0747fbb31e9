"""The base classes of update transforms, compressions and aggregation rules.

They operate on *changes*: for every trainable tensor, the tensor that goes up less the one of the
same name that came down, or the tensor itself if none came down (SCAFFOLD's control variates are
changes already). Buffers and frozen tensors are sent unchanged.

An example: a model of one weight that goes down as 1.0 and comes back from a client as 3.0 has the
change 2.0. ``clip`` with norm 0.5 makes it 0.5, ``int8`` sends it as one byte and a scale, and the
server adds it to the 1.0 that it has sent and passes 1.5 to the method's `aggregate`.
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
    """Transforms a client's update on the client, before it is compressed and sent."""

    group: ClassVar[str] = "update_transforms"

    @abstractmethod
    def transform(self, changes: Changes, generator: torch.Generator) -> Changes:
        """The transformed changes.

        Args:
            changes: The client's changes; must not be written to.
            generator: Random generator of this client and round, on the CPU.
        """


class Compression(Component):
    """Compresses one tensor of changes on the client, and decompresses it on the server.

    Attributes:
        feedback: Error feedback: whether a client adds the compression error to its next change,
            which may be several rounds later.
    """

    group: ClassVar[str] = "compressions"
    feedback: bool = False

    @abstractmethod
    def encode(self, change: torch.Tensor, generator: torch.Generator) -> Tensors:
        """The tensors that travel.

        Args:
            change: One tensor of changes, of any shape, in float32 or another float type.
            generator: Random generator of this client and round, on the CPU.

        Returns:
            Tensors by name; names, dtypes and shapes depend only on the shape of the change.
        """

    @abstractmethod
    def decode(self, encoded: Tensors, shape: torch.Size) -> torch.Tensor:
        """The decompressed change, float32 of shape `shape`."""


class AggregationRule(Component):
    """Aggregates the clients' tensors in place of the weighted mean.

    Attributes:
        weighted: Whether the rule uses the clients' weights; otherwise all must have the same.
    """

    group: ClassVar[str] = "aggregation_rules"
    weighted: ClassVar[bool] = False

    @abstractmethod
    def combine(self, tensors: torch.Tensor, weights: Sequence[float]) -> torch.Tensor:
        """The aggregate of the clients' tensors.

        Args:
            tensors: float64 of shape (clients, ...), in the order of client indices.
            weights: One weight per client.

        Returns:
            A tensor of shape (...).
        """

    def least(self, clients: int) -> str:
        """Why `clients` clients are too few for the rule; empty if they are enough."""
        return ""
