"""Adaptive server optimisers: the base of FedAdam, FedYogi and FedAdagrad.

The clients' mean change takes the place of the gradient.

Adaptive Federated Optimization, Reddi, Charles, Zaheer, Garrett, Rush, Konečný, Kumar, McMahan,
ICLR 2021, arXiv 2003.00295.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from pydantic import Field, PositiveFloat
from typing_extensions import TypeVar

from fedlab.config.ranges import LogUniform, Range, Values
from fedlab.federation.client_updates import ClientUpdate
from fedlab.records import Tensors
from fedlab.strategies.families.server_update import ServerStep, plus
from fedlab.strategies.parameters import StrategyParameters


class ServerOptimizerParameters(StrategyParameters):
    """Parameters of all server optimisers.

    Attributes:
        server_lr: η_s, the server's learning rate.
    """

    server_lr: PositiveFloat

    @property
    def client_trainer(self) -> str:
        """Clients train as in FedAvg."""
        return self.client or "fedavg"


class AdaptiveParameters(ServerOptimizerParameters):
    """Parameters of FedAdam, FedYogi and FedAdagrad; defaults are those of Flower.

    The best server learning rate depends on the task: the paper tunes it by grid search and
    recommends no default.

    Attributes:
        beta_1: β₁, decay rate of the mean change.
        tau: τ, added to the scale that changes are divided by; the smaller, the more adaptive.
    """

    space: ClassVar[Mapping[str, Range]] = {
        "server_lr": LogUniform(0.001, 1.0),
        "tau": Values((0.1, 0.01, 0.001, 0.0001)),
    }
    server_lr: PositiveFloat = 0.1
    beta_1: float = Field(default=0.9, ge=0, lt=1)
    tau: PositiveFloat = 1e-3


A = TypeVar("A", bound=AdaptiveParameters, default=AdaptiveParameters)


class Adaptive(ServerStep[A]):
    """m ← β₁ m + (1 - β₁) Δ, w ← w + η_s m / (√v + τ) (Algorithm 2 of Reddi et al.).

    As there, and unlike in Adam, moments have no bias correction; v starts at τ².
    """

    needs_only_mean = True
    dp_compatible = True

    @abstractmethod
    def square(self, v: torch.Tensor, change: torch.Tensor) -> torch.Tensor:
        """The next v of a tensor."""

    def initialise(self, model: Tensors) -> None:
        """Starts with m = 0 and v = τ²."""
        super().initialise(model)
        tau = self.parameters.tau
        self.state |= {"mean": self.filled(0.0), "square": self.filled(tau**2)}

    def aggregate(self, server_round: int, updates: Sequence[ClientUpdate]) -> None:
        """Steps along the mean change, each entry divided by √v + τ."""
        chosen = self.parameters
        average = self.weighted_mean(updates, "arrays")
        change = self.change(average)
        mean = {n: m.lerp(change[n], 1 - chosen.beta_1) for n, m in self.state["mean"].items()}
        square = {n: self.square(v, change[n]) for n, v in self.state["square"].items()}
        step = {name: m / (square[name].sqrt() + chosen.tau) for name, m in mean.items()}
        model = plus(self.state["arrays"], step, chosen.server_lr)
        self.state = {"arrays": {**average, **model}, "mean": mean, "square": square}
