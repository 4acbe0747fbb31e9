"""FedProx, strategy: FedAvg whose clients get μ, the weight of a proximal term.

Federated Optimization in Heterogeneous Networks, Li, Sahu, Zaheer, Sanjabi, Talwalkar, Smith,
MLSys 2020, arXiv 1812.06127.

Up: the whole model. Down: the whole model and μ. Stays: nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import NonNegativeFloat

from fedlab.config.ranges import LogUniform, Range
from fedlab.strategies.base import Strategy
from fedlab.strategies.parameters import StrategyParameters


class FedProxParameters(StrategyParameters):
    """FedProx's parameters.

    Attributes:
        mu: Weight of the proximal term; 0 is FedAvg. Commonly 0.001 to 1; the authors of FedBN
            compare with 0.01 on digits and 0.001 on photographs.
    """

    space: ClassVar[Mapping[str, Range]] = {"mu": LogUniform(0.001, 1.0)}
    name: str = "fedprox"
    mu: NonNegativeFloat = 0.01


class FedProx(Strategy[FedProxParameters]):
    """Averages as FedAvg does; the client trainer adds the proximal term."""

    def config(self, server_round: int) -> dict[str, Any]:
        """Sends μ under the key that Flower's own FedProx uses."""
        mu = self.parameters.mu
        return {**super().config(server_round), "proximal-mu": mu}
