"""FedNova, strategy: averages updates that are normalised by the clients' numbers of steps.

Tackling the Objective Inconsistency Problem in Heterogeneous Federated Optimization, Wang, Liu,
Liang, Joshi, Poor, NeurIPS 2020, arXiv 2007.07481.

Up: the normalised change of the model, the sum that normalised it, and untrained tensors (running
statistics). Down: the whole model. Stays: nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from pydantic import Field, NonNegativeFloat
from torch import nn

from fedlab.errors import InputError
from fedlab.federation.client_updates import ClientUpdate
from fedlab.federation.record_layout import Form, Layout
from fedlab.records import Tensors
from fedlab.strategies.families.server_update import ServerStep, plus
from fedlab.strategies.parameters import StrategyParameters

if TYPE_CHECKING:
    from fedlab.config.experiment import Experiment


class FedNovaParameters(StrategyParameters):
    """FedNova's parameters.

    Attributes:
        mu: Weight of a proximal term in the clients' objective, as in FedProx; 0 for none.
        server_momentum: β of a momentum of the server's steps; 0 for none.
    """

    name: str = "fednova"
    mu: NonNegativeFloat = 0.0
    server_momentum: float = Field(default=0.0, ge=0, lt=1)

    def check(self, scenario: Experiment, model: nn.Module) -> None:
        """Refuses adaptive local optimisers."""
        optimizer = scenario.training.optimizer.name
        if optimizer != "sgd":
            raise InputError(
                f"training.optimizer.name: fednova divides a client's change by the sum of the "
                f"coefficients its gradients enter with, and with '{optimizer}' these depend on "
                "the gradients; use training.optimizer.name=sgd (momentum is taken into account)"
            )
        lr = scenario.training.optimizer.lr
        if lr * self.mu >= 1:
            raise InputError(
                f"strategy.mu: {self.mu:g} with training.optimizer.lr={lr:g} makes the proximal "
                "term overshoot in every step, so that the sum of coefficients means nothing; use "
                f"a mu below {1 / lr:g}"
            )


class FedNova(ServerStep[FedNovaParameters]):
    """w ← w - (Σ p_i a_i) Σ p_i d_i, d_i = (w - θ_i) / a_i.

    With a server's momentum, v ← β v + (Σ p_i a_i) Σ p_i d_i and w ← w - v.
    """

    needs_only_mean = True

    def initialise(self, model: Tensors) -> None:
        """Sets the model and, with momentum, a velocity of zeros."""
        super().initialise(model)
        if self.parameters.server_momentum:
            self.state["velocity"] = self.filled(0.0)

    def upload_bytes(self, down: int) -> int:
        """`down` and the normalising sum, one float64."""
        return down + torch.float64.itemsize

    def sent_up(self, down: Layout, question: str = "") -> Layout:
        """The direction, the sum of coefficients, and tensors that are not trained."""
        number = {"coefficients": {"sum": Form("float64", (), low=0.0)}}
        return self.layout_of_step(down, "direction", number)

    def aggregate(self, server_round: int, updates: Sequence[ClientUpdate]) -> None:
        """Steps along the mean direction, multiplied by the mean of the coefficient sums."""
        length = float(self.weighted_mean(updates, "coefficients")["sum"])
        step = {n: length * d for n, d in self.weighted_mean(updates, "direction").items()}
        if momentum := self.parameters.server_momentum:
            step = self.state["velocity"] = plus(step, self.state["velocity"], momentum)
        model = plus(self.state["arrays"], step, -1)
        self.state["arrays"] = self.with_untrained(model, updates)
