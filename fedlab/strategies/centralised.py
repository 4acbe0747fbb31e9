"""Centralised training, strategy: one client owns the samples of all.

The upper baseline for federated methods. The samples, their labels and their test splits are those
of the scenario's partition, pooled; a round is `training.local_epochs` passes over all of them,
after which the optimiser starts anew, as it does for every method.

Up: the whole model, from the one client. Down: the same. Stays: nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from flwr.serverapp import Grid

from fedlab.partition.pooling import pooled
from fedlab.strategies.base import Strategy
from fedlab.strategies.parameters import ClientsCount, StrategyParameters

if TYPE_CHECKING:
    from fedlab.partition.partition import Partition


class CentralisedParameters(StrategyParameters):
    """Centralised training has no further parameters.

    The one client takes part in every round; ``participation.fraction`` has no effect.
    """

    why_unheeded: ClassVar[str] = "the one client of centralised has the samples of all"
    name: str = "centralised"

    @property
    def clients_count(self) -> ClientsCount:
        """``examples``, as the samples are pooled; `weighting` has no effect."""
        return "examples"

    def reassign(self, partition: Partition) -> Partition:
        """Assigns all clients' samples to one client.

        Held-out clients keep their samples, and come after it.
        """
        return pooled(partition)


class Centralised(Strategy[CentralisedParameters]):
    """FedAvg with one client."""

    def cohort(self, server_round: int, grid: Grid, purpose: str, fraction: float) -> list[int]:
        """The one client, or none if `fraction` is 0."""
        return super().cohort(server_round, grid, purpose, float(fraction > 0))
