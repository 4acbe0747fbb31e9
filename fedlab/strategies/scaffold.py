"""SCAFFOLD, strategy: control variates correct the clients' steps for client drift.

SCAFFOLD: Stochastic Controlled Averaging for Federated Learning, Karimireddy, Kale, Mohri, Reddi,
Stich, Suresh, ICML 2020, arXiv 1910.06378.

Up: the whole model and the change of the client's control variate. Down: the whole model and the
server's control variate. Stays: the client's control variate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import PositiveFloat
from torch import nn

from fedlab.config.ranges import LogUniform, Range
from fedlab.federation.client_updates import ClientUpdate
from fedlab.records import Tensors
from fedlab.strategies.families.requirements import refuse_unless_plain_sgd
from fedlab.strategies.families.server_update import ServerStep, plus
from fedlab.strategies.parameters import StrategyParameters

if TYPE_CHECKING:
    from fedlab.config.experiment import Experiment


class ScaffoldParameters(StrategyParameters):
    """SCAFFOLD's parameters.

    Attributes:
        weighting: Every client counts the same, as in the paper, whose analysis holds however many
            of them train in a round. Where they count by their examples, the optimum is that
            of all examples, also with some clients a round: the server keeps the mean over all
            clients, each by its examples, which it learns when a client first trains.
        server_lr: η_g, the server's step along the clients' mean change; commonly 1. The paper of
            GGEUR has 0.25.
    """

    space: ClassVar[Mapping[str, Range]] = {"server_lr": LogUniform(0.1, 2.0)}
    name: str = "scaffold"
    weighting: Literal["examples", "uniform"] = "uniform"
    server_lr: PositiveFloat = 1.0

    def check(self, scenario: Experiment, model: nn.Module) -> None:
        """Refuses local optimisers other than plain SGD."""
        refuse_unless_plain_sgd(scenario)


class Scaffold(ServerStep[ScaffoldParameters]):
    """w ← w + η_g mean Δy_i, c ← c + |S|/M mean Δc_i (Algorithm 1 of the paper).

    By examples, F = Σ p_i F_i with p_i = n_i / Σ n_j and c = Σ p_i c_i over all clients. In the
    optimum c_i = ∇F_i and c = 0, so that no client moves from there, for any participants.
    """

    needs_only_mean = True

    def initialise(self, model: Tensors) -> None:
        """Starts with a control variate of zeros."""
        super().initialise(model)
        self.state["control"] = self.filled(0.0)

    def broadcast(self, server_round: int) -> dict[str, Tensors]:
        """The model and the server's control variate c."""
        return {"arrays": self.state["arrays"], "control": self.state["control"]}

    def aggregate(self, server_round: int, updates: Sequence[ClientUpdate]) -> None:
        """Steps along the mean change, and keeps c the mean of all clients' c_i."""
        server_lr = self.parameters.server_lr
        average = self.weighted_mean(updates, "arrays")
        model = plus(self.state["arrays"], self.change(average), server_lr)
        news = self.weighted_mean(updates, "control")
        control = self.take_in(self.state["control"], updates, news)
        self.state |= {"arrays": {**average, **model}, "control": control}
