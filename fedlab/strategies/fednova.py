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
from torch import nn

from fedlab.errors import InputError
from fedlab.federation.client_updates import ClientUpdate
from fedlab.federation.record_layout import Form, Layout
from fedlab.strategies.families.server_update import ServerStep, plus
from fedlab.strategies.parameters import StrategyParameters

if TYPE_CHECKING:
    from fedlab.config.experiment import Experiment


class FedNovaParameters(StrategyParameters):
    """FedNova has no parameters of its own."""

    name: str = "fednova"

    def check(self, scenario: Experiment, model: nn.Module) -> None:
        """Refuses adaptive local optimisers."""
        optimizer = scenario.training.optimizer.name
        if optimizer != "sgd":
            raise InputError(
                f"training.optimizer.name: fednova divides a client's change by the sum of the "
                f"coefficients its gradients enter with, and with '{optimizer}' these depend on "
                "the gradients; use training.optimizer.name=sgd (momentum is taken into account)"
            )


class FedNova(ServerStep[FedNovaParameters]):
    """w ← w - (Σ p_i a_i) Σ p_i d_i, d_i = (w - θ_i) / a_i."""

    needs_only_mean = True

    def upload_bytes(self, down: int) -> int:
        """`down` and the normalising sum, one float64."""
        return down + torch.float64.itemsize

    def sent_up(self, down: Layout, question: str = "") -> Layout:
        """The direction, the sum of coefficients, and tensors that are not trained."""
        model = down["arrays"]
        untrained = {n: form for n, form in model.items() if n not in self.trainable}
        return {
            "direction": {name: model[name] for name in self.trainable},
            "coefficients": {"sum": Form("float64", (), low=0.0)},
            **({"untrained": untrained} if untrained else {}),
        }

    def aggregate(self, server_round: int, updates: Sequence[ClientUpdate]) -> None:
        """Steps along the mean direction, multiplied by the mean of the coefficient sums."""
        length = float(self.weighted_mean(updates, "coefficients")["sum"])
        model = plus(self.state["arrays"], self.weighted_mean(updates, "direction"), -length)
        others = (
            self.weighted_mean(updates, "untrained") if "untrained" in updates[0].arrays else {}
        )
        self.state = {"arrays": {name: {**model, **others}[name] for name in self.shared}}
