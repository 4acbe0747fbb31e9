"""AFL, strategy: a model for the worst-case mixture of clients.

Agnostic Federated Learning, Mohri, Sivek, Suresh, ICML 2019, arXiv 1902.00146.

Up: the whole model and the loss of the received one. Down: the whole model. Stays: nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from pydantic import PositiveFloat
from torch import nn

from fedlab.config.ranges import LogUniform, Range
from fedlab.federation.client_updates import ClientUpdate
from fedlab.federation.record_layout import Form, Layout
from fedlab.models.anatomy.derived import fitted
from fedlab.records import Tensors
from fedlab.strategies.base import Strategy
from fedlab.strategies.families.client_table import client_table, column_of
from fedlab.strategies.parameters import ClientsCount, StrategyParameters

if TYPE_CHECKING:
    from fedlab.config.experiment import Experiment

log = logging.getLogger("fedlab")


class AFLParameters(StrategyParameters):
    """AFL's parameters.

    The paper's round is one gradient of each client; with ``training.local_steps: 1`` and
    ``training.batch_size: full`` it is so here. With more steps, the weights λ average models.

    Attributes:
        gamma: γ, the step of the clients' weights λ along their losses.
        output: The server's model: the ``mean`` of the models of all rounds, as in the paper, for
            which its bounds hold, or the ``last`` one.
    """

    space: ClassVar[Mapping[str, Range]] = {"gamma": LogUniform(0.001, 1.0)}
    why_unheeded: ClassVar[str] = "afl learns how clients count, from equal weights on"
    name: str = "afl"
    gamma: PositiveFloat = 0.1
    output: Literal["mean", "last"] = "mean"
    weighting: Literal["examples", "uniform"] = "uniform"

    @property
    def clients_count(self) -> ClientsCount:
        """``rule``: their weights are learnt."""
        return "rule"

    def check(self, scenario: Experiment, model: nn.Module) -> None:
        """Logs how rounds with a part of the clients are treated."""
        if scenario.participation.fraction < 1:
            log.warning(
                "afl compares the losses of all clients in every round; with "
                "participation.fraction=%g those of a round share the weight that they had "
                "together, and it takes many more rounds (strategy.name=qfedavg is made for that)",
                scenario.participation.fraction,
            )


class AFL(Strategy[AFLParameters]):
    """w ← Σ λ_k θ_k, λ ← Π(λ + γ F), with Π the projection onto the simplex.

    λ starts equal. Clients that a round misses keep their λ, and the others share what is left.
    """

    def initialise(self, model: Tensors) -> None:
        """Starts with the initial model; λ is known after the first replies."""
        super().initialise(model)
        rounds = torch.zeros((), dtype=torch.float64)
        self.state["mixture"] = {**client_table(weights={}), "rounds": rounds}

    def broadcast(self, server_round: int) -> dict[str, Tensors]:
        """The model of the last round; with ``output: mean``, the state holds the mean of all."""
        return {"arrays": self.state.get("iterate", self.state["arrays"])}

    def upload_bytes(self, down: int) -> int:
        """`down` and the loss, one float64."""
        return down + torch.float64.itemsize

    def sent_up(self, down: Layout, question: str = "") -> Layout:
        """The model and the loss."""
        return {**down, "received": {"loss": Form("float64", ())}}

    def weight(self, update: ClientUpdate) -> float:
        """λ_k; 0 for a client without samples."""
        known = self.mixture()
        return known.get(update.client, 1 / max(self.population, 1)) * (update.examples > 0)

    def mixture(self) -> dict[int, float]:
        """λ by client, of all that have replied so far."""
        return column_of(self.state["mixture"], "weights")

    def aggregate(self, server_round: int, updates: Sequence[ClientUpdate]) -> None:
        """Averages by λ, then moves λ towards the clients with the largest losses."""
        model = self.weighted_mean(updates, "arrays")
        rounds = self.state["mixture"]["rounds"] + 1
        if self.parameters.output == "mean":
            self.state |= {"arrays": self._mean(model, float(rounds)), "iterate": model}
        else:
            self.state["arrays"] = model
        known = self.mixture()
        counted = [update for update in updates if update.examples > 0]
        weights = torch.tensor([self.weight(each) for each in counted], dtype=torch.float64)
        losses = torch.stack([each.arrays["received"]["loss"].double() for each in counted])
        moved = onto_simplex(weights + self.parameters.gamma * losses, float(weights.sum()))
        known |= dict(zip((each.client for each in counted), moved.tolist(), strict=True))
        self.state["mixture"] = {**client_table(weights=known), "rounds": rounds}

    def settle(self, updates: Sequence[ClientUpdate]) -> None:
        """Fits derived buffers of the iterate, which goes down, and of the mean of all rounds."""
        if "iterate" not in self.state:
            super().settle(updates)
        elif self.anatomy.derived:  # also after a single update: the mean is of several models
            both = {name: fitted(self.model, self.state[name]) for name in ("arrays", "iterate")}
            self.state |= both

    def _mean(self, model: Tensors, rounds: float) -> Tensors:
        """The mean of all rounds' models; integers and tensors that are kept whole are the last."""
        before = self.state["arrays"] if rounds > 1 else model
        return {
            name: torch.lerp(before[name].double(), tensor.double(), 1 / rounds).to(tensor.dtype)
            if tensor.is_floating_point() and name not in self.anatomy.kept_whole
            else tensor.clone()
            for name, tensor in model.items()
        }

    def round_metrics(self, server_round: int) -> dict[str, float]:
        """The largest λ: 1 / M for M equal clients, 1 if one client has all weight."""
        return {"largest_weight": max(self.mixture().values(), default=0.0)}


def onto_simplex(values: torch.Tensor, total: float = 1.0) -> torch.Tensor:
    """The nearest point whose entries are not negative and sum to `total`.

    Args:
        values: Shape (n,).
        total: Above 0.
    """
    falling = values.sort(descending=True).values
    places = torch.arange(1, len(values) + 1, dtype=values.dtype)
    excess = (falling.cumsum(0) - total) / places
    last = int((falling > excess).nonzero().max())
    return (values - excess[last]).clamp(min=0)
