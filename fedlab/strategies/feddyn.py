"""FedDyn, strategy: dynamic regularisation aligns the clients' optima with the global one.

Federated Learning Based on Dynamic Regularization, Acar, Zhao, Matas Navarro, Mattina, Whatmough,
Saligrama, ICLR 2021, arXiv 2111.04263.

Up: the whole model. Down: the whole model. Stays: the client's linear term h_i, as large as the
model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import PositiveFloat
from torch import nn

from fedlab.config.ranges import LogUniform, Range
from fedlab.federation.client_updates import ClientUpdate
from fedlab.records import Tensors
from fedlab.strategies.families.requirements import warn_of_weighted_parts
from fedlab.strategies.families.server_update import ServerStep, plus
from fedlab.strategies.parameters import StrategyParameters

if TYPE_CHECKING:
    from fedlab.config.experiment import Experiment


class FedDynParameters(StrategyParameters):
    """FedDyn's parameters.

    Attributes:
        weighting: Every client counts the same, as in the paper, whose analysis holds however many
            of them train in a round. Where they count by their examples, the optimum of all
            examples is reached exactly if all clients train in every round; where some do and
            clients are of different size, the server's h is off and so is the result, of which a
            warning tells.
        alpha: α, weight of the penalty, commonly 0.01 to 0.5. The smaller it is, the further the
            server's correction reaches, and the more local steps it takes for clients to follow.
    """

    space: ClassVar[Mapping[str, Range]] = {"alpha": LogUniform(0.001, 1.0)}
    name: str = "feddyn"
    weighting: Literal["examples", "uniform"] = "uniform"
    alpha: PositiveFloat = 0.1

    def check(self, scenario: Experiment, model: nn.Module) -> None:
        """Tells where the weighted objective is not reached."""
        warn_of_weighted_parts(scenario, self.weighting)


class FedDyn(ServerStep[FedDynParameters]):
    """h ← h - α |S|/M mean(θ_i - w), w ← mean θ_i - h/α (Algorithm 1 of the paper)."""

    needs_only_mean = True
    dp_compatible = True

    def initialise(self, model: Tensors) -> None:
        """Starts with h of zeros."""
        super().initialise(model)
        self.state["h"] = self.filled(0.0)

    def aggregate(self, server_round: int, updates: Sequence[ClientUpdate]) -> None:
        """Keeps h the mean of all clients' h_i, and corrects the mean model by it."""
        alpha = self.parameters.alpha
        average = self.weighted_mean(updates, "arrays")
        share = self.participation(updates)
        h = plus(self.state["h"], self.change(average), -alpha * share)
        self.state = {"arrays": {**average, **plus(average, h, -1 / alpha)}, "h": h}
