"""The base class of losses, the scenario's ``training.loss`` block."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, NamedTuple

import torch

from fedlab.config.component import Component
from fedlab.records import Tensors
from fedlab.renamed import old_names


class ClientStats(NamedTuple):
    """Statistics of a client's training samples, for losses and methods.

    Attributes:
        class_counts: Number of labelled samples of every class, int64 of shape (classes,).
        samples: Number of training samples, labelled or not.
    """

    class_counts: torch.Tensor
    samples: int


class Loss(Component):
    """The ``training.loss`` block: a function of outputs, labels and the client's statistics."""

    group: ClassVar[str] = "losses"
    personal: ClassVar[bool] = False
    """Whether `start` depends on the client."""
    supports_vmap: ClassVar[bool] = True
    """Whether the tensors of `start` have the same shapes for all clients, and `value` only reads
    them, so that clients can be stacked; otherwise clients train one by one."""

    def start(self, stats: ClientStats, server_round: int, rounds: int) -> Tensors:
        """The loss's own tensors of a client for one round, by name; empty by default.

        Args:
            stats: Statistics of the client's samples.
            server_round: The round, from 1.
            rounds: Number of rounds of the run.
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
            indices: Indices into the client's samples, int64 of shape (batch,).
            kept: The tensors of `start`; may be written to in place.
        """

    def for_vmap(self) -> Loss:
        """The same loss with operations that are fast under `torch.func.vmap`."""
        return self


__getattr__ = old_names(__name__, {"Profile": "ClientStats"})
