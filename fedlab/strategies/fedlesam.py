"""FedLESAM, strategy: sharpness-aware steps perturbed along the global model's last change.

Locally Estimated Global Perturbations are Better than Local Perturbations for Federated
Sharpness-aware Minimization, Fan et al., ICML 2024, arXiv
2405.18890. Authors' code: MediaBrain-SJTU/FedLESAM.

Up: the whole model. Down: the whole model. Stays: the global model of the client's last round.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import PositiveFloat

from fedlab.config.ranges import LogUniform, Range
from fedlab.strategies.base import Strategy
from fedlab.strategies.parameters import StrategyParameters


class FedLESAMParameters(StrategyParameters):
    """FedLESAM's parameters.

    The formula is the paper's. The authors' code moves each tensor by one number, and keeps the
    server's last step in the place of each client's last received model.

    Attributes:
        rho: ρ, distance from the parameters at which the gradient is taken.
    """

    space: ClassVar[Mapping[str, Range]] = {"rho": LogUniform(0.01, 1.0)}
    name: str = "fedlesam"
    rho: PositiveFloat = 0.1


class FedLESAM(Strategy[FedLESAMParameters]):
    """Averages as FedAvg does; clients perturb their parameters."""
