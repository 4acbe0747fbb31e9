"""Server optimisers: the clients' mean change is a gradient, and the server's step is a known one.

FedAvgM: Measuring the Effects of Non-Identical Data Distribution for Federated Visual
Classification, Hsu, Qi, Brown, 2019, arXiv 1909.06335. FedAdam, FedYogi and FedAdagrad: Adaptive
Federated Optimization, Reddi, Charles, Zaheer, Garrett, Rush, Konečný, Kumar, McMahan, ICLR 2021,
arXiv 2003.00295.

Up: the whole model. Down: the whole model. Stays: nothing.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import cast

import torch
from pydantic import Field, PositiveFloat

from fedlab.records import Tensors
from fedlab.strategies.parameters import StrategyParameters
from fedlab.strategies.server_step import ServerStep, plus
from fedlab.strategies.updates import ClientUpdate


class ServerOptimizerParameters(StrategyParameters):
    """What all server optimisers have.

    Attributes:
        server_lr: η_s, the server's learning rate.
    """

    server_lr: PositiveFloat

    @property
    def local_half(self) -> str:
        """Clients train as in FedAvg."""
        return self.client or "fedavg"


class FedAvgMParameters(ServerOptimizerParameters):
    """FedAvgM's parameters.

    Attributes:
        momentum: β; 0 with a learning rate of 1 is FedAvg.
    """

    name: str = "fedavgm"
    server_lr: PositiveFloat = 1.0
    momentum: float = Field(default=0.9, ge=0, lt=1)


class AdaptiveParameters(ServerOptimizerParameters):
    """What FedAdam, FedYogi and FedAdagrad have; defaults are those of Flower.

    Attributes:
        beta_1: β₁, how much of the mean change is kept from round to round.
        tau: τ, the least of the scale that changes are divided by; the smaller, the more adaptive.
    """

    server_lr: PositiveFloat = 0.1
    beta_1: float = Field(default=0.9, ge=0, lt=1)
    tau: PositiveFloat = 1e-3


class FedAdagradParameters(AdaptiveParameters):
    """FedAdagrad's parameters; no momentum by default, as in Adagrad."""

    name: str = "fedadagrad"
    beta_1: float = Field(default=0.0, ge=0, lt=1)


class FedAdamParameters(AdaptiveParameters):
    """FedAdam's parameters.

    Attributes:
        beta_2: β₂, how much of the mean square is kept from round to round.
    """

    name: str = "fedadam"
    beta_2: float = Field(default=0.99, ge=0, lt=1)


class FedYogiParameters(FedAdamParameters):
    """FedYogi's parameters."""

    name: str = "fedyogi"
    server_lr: PositiveFloat = 0.01


class FedAvgM(ServerStep):
    """v ← β v + Δ, w ← w + η_s v, with Δ = Σ p_i (θ_i - w)."""

    Parameters = FedAvgMParameters
    linear = True

    def initialise(self, model: Tensors) -> None:
        """Starts at rest."""
        super().initialise(model)
        self.state["velocity"] = self.filled(0.0)

    def combine(self, server_round: int, updates: Sequence[ClientUpdate]) -> None:
        """Steps along the velocity."""
        chosen = cast(FedAvgMParameters, self.parameters)
        average = self.mean(updates, "arrays")
        velocity = plus(self.change(average), self.state["velocity"], chosen.momentum)
        model = plus(self.state["arrays"], velocity, chosen.server_lr)
        self.state = {"arrays": {**average, **model}, "velocity": velocity}


class Adaptive(ServerStep):
    """m ← β₁ m + (1 - β₁) Δ, w ← w + η_s m / (√v + τ) (Algorithm 2 of Reddi et al.).

    As there, and unlike Adam, moments are not corrected for starting small: v starts at τ².
    """

    linear = True

    @abstractmethod
    def square(self, v: torch.Tensor, change: torch.Tensor) -> torch.Tensor:
        """The next v of a tensor."""

    def initialise(self, model: Tensors) -> None:
        """Starts with m = 0 and v = τ²."""
        super().initialise(model)
        tau = cast(AdaptiveParameters, self.parameters).tau
        self.state |= {"mean": self.filled(0.0), "square": self.filled(tau**2)}

    def combine(self, server_round: int, updates: Sequence[ClientUpdate]) -> None:
        """Steps along the mean change, entry by entry over its usual size."""
        chosen = cast(AdaptiveParameters, self.parameters)
        average = self.mean(updates, "arrays")
        change = self.change(average)
        mean = {n: m.lerp(change[n], 1 - chosen.beta_1) for n, m in self.state["mean"].items()}
        square = {n: self.square(v, change[n]) for n, v in self.state["square"].items()}
        step = {name: m / (square[name].sqrt() + chosen.tau) for name, m in mean.items()}
        model = plus(self.state["arrays"], step, chosen.server_lr)
        self.state = {"arrays": {**average, **model}, "mean": mean, "square": square}


class FedAdagrad(Adaptive):
    """v ← v + Δ²."""

    Parameters = FedAdagradParameters

    def square(self, v: torch.Tensor, change: torch.Tensor) -> torch.Tensor:
        """The sum of squares."""
        return v + change.square()


class FedAdam(Adaptive):
    """v ← β₂ v + (1 - β₂) Δ²."""

    Parameters = FedAdamParameters

    def square(self, v: torch.Tensor, change: torch.Tensor) -> torch.Tensor:
        """The fading mean of squares."""
        return v.lerp(change.square(), 1 - cast(FedAdamParameters, self.parameters).beta_2)


class FedYogi(Adaptive):
    """v ← v - (1 - β₂) Δ² sign(v - Δ²)."""

    Parameters = FedYogiParameters

    def square(self, v: torch.Tensor, change: torch.Tensor) -> torch.Tensor:
        """Moves towards the new square by a part of the square, not of the difference."""
        square, beta_2 = change.square(), cast(FedYogiParameters, self.parameters).beta_2
        return v - (1 - beta_2) * square * (v - square).sign()
