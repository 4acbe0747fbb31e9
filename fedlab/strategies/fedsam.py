"""FedSAM, server half: averages networks that were trained to lie in flat valleys.

Generalized Federated Learning via Sharpness Aware Minimization, Qu, Li, Duan, Liu, Tang, Lu,
ICML 2022, arXiv 2206.02618.

Up: the whole model. Down: the whole model. Stays: nothing.
"""

from __future__ import annotations

from pydantic import PositiveFloat

from fedlab.strategies.base import Strategy
from fedlab.strategies.parameters import StrategyParameters


class FedSAMParameters(StrategyParameters):
    """FedSAM's parameters.

    Attributes:
        rho: How far uphill the gradient is taken; commonly between 0.05 and 0.5.
    """

    name: str = "fedsam"
    rho: PositiveFloat = 0.05


class FedSAM(Strategy):
    """Averages as FedAvg does; the sharpness is the clients' affair."""

    Parameters = FedSAMParameters
