"""What a loss is: a block of the scenario that judges a network's outputs."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, NamedTuple

import torch

from fedlab.config.component import Component
from fedlab.records import Tensors
from fedlab.renamed import old_names


class ClientStats(NamedTuple):
    """What a loss or a method may know of a client's labelled training samples.

    Attributes:
        class_counts: Labelled samples of every class, int64 of shape (classes,).
        samples: Number of training samples, labelled or not.
    """

    class_counts: torch.Tensor
    samples: int


class Loss(Component):
    """The ``training.loss`` block: a function of outputs and labels, and of who the client is."""

    group: ClassVar[str] = "losses"
    personal: ClassVar[bool] = False
    """Whether `start` depends on the client."""
    supports_vmap: ClassVar[bool] = True
    """Whether what `start` makes has the same shapes for all clients, and `value` only reads it, so
    that the clients' can be stacked; otherwise clients train one by one."""

    def start(self, stats: ClientStats, server_round: int, rounds: int) -> Tensors:
        """What the loss keeps beside a client's model during a round, by name; often nothing.

        Args:
            stats: What the client's samples are like.
            server_round: The round, from 1.
            rounds: Rounds of the whole run.
        """
        return {}

    @abstractmethod
    def value(
        self, outputs: torch.Tensor, labels: torch.Tensor, indices: torch.Tensor, kept: Tensors
    ) -> torch.Tensor:
        """The mean loss of a batch, a scalar.

        Args:
            outputs: Logits of shape (batch, classes).
            labels: int64 of shape (batch,).
            indices: Which of the client's samples they are, int64 of shape (batch,).
            kept: What `start` made; may be written to in place.
        """

    def for_vmap(self) -> Loss:
        """The same loss, made of what `torch.func.vmap` does quickly."""
        return self


__getattr__ = old_names(__name__, {"Profile": "ClientStats"})
