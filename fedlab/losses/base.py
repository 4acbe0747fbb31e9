"""The base class of losses, the scenario's ``training.loss`` block."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, NamedTuple

import torch

from fedlab.config.component import Component
from fedlab.records import Tensors
from fedlab.renamed import old_names
from fedlab.targets.base import ONLY_CLASS


class ClientStats(NamedTuple):
    """Statistics of a client's training samples, for losses and methods.

    Attributes:
        class_counts: Number of labelled samples of every class, int64 of shape (classes,); with
            each label where labels are learnt, and all of them for each target of a regression.
        samples: Number of training samples, labelled or not.
        labelled: Number of labelled ones; all by default.
    """

    class_counts: torch.Tensor
    samples: int
    labelled: int | None = None


class Loss(Component):
    """The ``training.loss`` block: a function of outputs, labels and the client's statistics."""

    group: ClassVar[str] = "losses"
    targets: ClassVar[frozenset[str]] = ONLY_CLASS
    """The kinds of `data.target` that it goes with."""
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
            outputs: Of the network, shape (batch, outputs): logits, or numbers.
            labels: int64 of shape (batch,); float32 of shape (batch, outputs) where labels or
                numbers are learnt, standardised as `data.target` says.
            indices: Indices into the client's samples, int64 of shape (batch,).
            kept: The tensors of `start`; may be written to in place.
        """

    def of_bags(self, size: int | None) -> Loss:
        """The same loss, which knows how many samples a bag has, where bags are what is known.

        Args:
            size: Samples of a bag (`fedlab.targets.proportions`); None where a client is one.
        """
        return self

    def for_vmap(self) -> Loss:
        """The same loss with operations that are fast under `torch.func.vmap`."""
        return self


__getattr__ = old_names(__name__, {"Profile": "ClientStats"})
