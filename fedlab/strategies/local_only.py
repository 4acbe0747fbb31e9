"""Local only, strategy: nothing travels; every client learns from its own samples alone.

The lower baseline for federated methods, also called standalone or SingleSet. A client continues
from its own last round; all start from the same initial values.

Up: nothing. Down: nothing. Stays: the whole model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import nn

from fedlab.federation.client_updates import ClientUpdate
from fedlab.models.anatomy import anatomy_of
from fedlab.models.norms import NormPolicy
from fedlab.strategies.base import Strategy
from fedlab.strategies.parameters import ClientsCount, StrategyParameters


class LocalOnlyParameters(StrategyParameters):
    """Local training has no further parameters."""

    why_unheeded: ClassVar[str] = "every client of local_only minimises its own loss"
    name: str = "local_only"

    @property
    def clients_count(self) -> ClientsCount:
        """``alone``: every client minimises its own loss."""
        return "alone"

    def local_parameter_names(self, model: nn.Module, policy: NormPolicy) -> tuple[str, ...]:
        """Every tensor."""
        return anatomy_of(model).moving

    def check_networks(self, models: Sequence[nn.Module]) -> None:
        """Accepts different networks: clients share nothing."""


class LocalOnly(Strategy[LocalOnlyParameters]):
    """Sends training messages without a model; there is no model on the server."""

    asks_for_means = False

    def aggregate(self, server_round: int, updates: Sequence[ClientUpdate]) -> None:
        """Does nothing: no tensors come up."""
