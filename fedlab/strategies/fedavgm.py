"""FedAvgM, strategy: FedAvg with momentum on the server.

Measuring the Effects of Non-Identical Data Distribution for Federated Visual Classification, Hsu,
Qi, Brown, 2019, arXiv 1909.06335.

Up: the whole model. Down: the whole model. Stays: nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from pydantic import Field, PositiveFloat

from fedlab.config.ranges import Range, Values
from fedlab.federation.client_updates import ClientUpdate
from fedlab.records import Tensors
from fedlab.strategies.families.fedopt import ServerOptimizerParameters
from fedlab.strategies.families.server_update import ServerStep, plus


class FedAvgMParameters(ServerOptimizerParameters):
    """FedAvgM's parameters.

    Attributes:
        momentum: β, commonly 0.9; 0 with a learning rate of 1 is FedAvg.
    """

    space: ClassVar[Mapping[str, Range]] = {"momentum": Values((0.5, 0.7, 0.9, 0.97))}
    name: str = "fedavgm"
    server_lr: PositiveFloat = 1.0
    momentum: float = Field(default=0.9, ge=0, lt=1)


class FedAvgM(ServerStep[FedAvgMParameters]):
    """v ← β v + Δ, w ← w + η_s v, with Δ = Σ p_i (θ_i - w)."""

    needs_only_mean = True
    dp_compatible = True

    def initialise(self, model: Tensors) -> None:
        """Sets the model and a velocity of zeros."""
        super().initialise(model)
        self.state["velocity"] = self.filled(0.0)

    def aggregate(self, server_round: int, updates: Sequence[ClientUpdate]) -> None:
        """Steps along the velocity."""
        chosen = self.parameters
        average = self.weighted_mean(updates, "arrays")
        velocity = plus(self.change(average), self.state["velocity"], chosen.momentum)
        model = plus(self.state["arrays"], velocity, chosen.server_lr)
        self.state = {"arrays": {**average, **model}, "velocity": velocity}
