"""FedDyn, strategy: dynamic regularisation aligns the clients' optima with the global one.

Federated Learning Based on Dynamic Regularization, Acar, Zhao, Matas Navarro, Mattina, Whatmough,
Saligrama, ICLR 2021, arXiv 2111.04263.

Up: the whole model. Down: the whole model. Stays: the client's linear term h_i, as large as the
model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import PositiveFloat
from torch import nn

from fedlab.config.ranges import LogUniform, Range
from fedlab.errors import InputError
from fedlab.federation.client_updates import ClientUpdate
from fedlab.records import Tensors
from fedlab.strategies.families.server_update import ServerStep, plus
from fedlab.strategies.families.shares import mean_examples, sizes_with
from fedlab.strategies.parameters import StrategyParameters

if TYPE_CHECKING:
    from fedlab.config.experiment import Experiment


class FedDynParameters(StrategyParameters):
    """FedDyn's parameters.

    Attributes:
        weighting: Every client counts the same, as in the paper, whose analysis holds however many
            of them train in a round. Where they count by their examples, the optimum is that
            of all examples, also with some clients a round: the server keeps the mean over all
            clients, each by its examples, which it learns when a client first trains.
        alpha: α, weight of the penalty, commonly 0.01 to 0.5. The smaller it is, the further the
            server's correction reaches, and the more local steps it takes for clients to follow.
        by_share: Whether α is divided by the client's share of the samples (1 for a client of mean
            size), as in the authors' code, but not by default here; the optimum is then that of
            all samples though clients count the same. The server learns sizes from replies, so that
            shares are 1 in the first round.
    """

    space: ClassVar[Mapping[str, Range]] = {"alpha": LogUniform(0.001, 1.0)}
    name: str = "feddyn"
    weighting: Literal["examples", "uniform"] = "uniform"
    alpha: PositiveFloat = 0.1
    by_share: bool = False

    def check(self, scenario: Experiment, model: nn.Module) -> None:
        """Refuses `by_share` where samples would count twice, or sizes would be revealed.

        Raises:
            InputError: If `by_share` would count samples twice, or give sizes away.
        """
        if self.by_share and self.weighting == "examples":
            raise InputError(
                "strategy.by_share: shares of the samples are in the clients' objective then, and "
                "strategy.weighting=examples counts them once more; use one of the two"
            )
        if self.by_share and scenario.privacy is not None:
            raise InputError(
                "strategy.by_share: the server sends the mean number of a client's samples, which "
                "has no noise; leave by_share or privacy out"
            )


class FedDyn(ServerStep[FedDynParameters]):
    """h ← h - α |S|/M mean(θ_i - w), w ← mean θ_i - h/α (Algorithm 1 of the paper).

    By examples, F = Σ p_i F_i with p_i = n_i / Σ n_j and h = Σ p_i h_i over all clients. In the
    optimum w each θ_i is w, as h_i = ∇F_i there, and h = 0, so that w stays for any participants.
    """

    needs_only_mean = True
    dp_compatible = True

    def initialise(self, model: Tensors) -> None:
        """Starts with h of zeros."""
        super().initialise(model)
        self.state["h"] = self.filled(0.0)

    def config(self, server_round: int) -> dict[str, Any]:
        """Adds the mean number of samples of a client, with `by_share` and once it is known."""
        return {**super().config(server_round), **mean_examples(self.state.get("sizes", {}))}

    def aggregate(self, server_round: int, updates: Sequence[ClientUpdate]) -> None:
        """Keeps h the mean of all clients' h_i, and corrects the mean model by it."""
        alpha = self.parameters.alpha
        average = self.weighted_mean(updates, "arrays")
        h = self.take_in(self.state["h"], updates, self.change(average), -alpha)
        self.state |= {"arrays": {**average, **plus(average, h, -1 / alpha)}, "h": h}
        if self.parameters.by_share:
            self.state["sizes"] = sizes_with(self.state.get("sizes", {}), updates)
