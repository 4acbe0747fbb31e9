"""FedPer, strategy: averages the first layers; the last ones stay with the clients.

Federated Learning with Personalization Layers, Arivazhagan, Aggarwal, Singh, Choudhary, 2019,
arXiv 1912.00818.

Up: the base layers. Down: the base layers. Stays: the last layers (personalization layers).
"""

from __future__ import annotations

from pydantic import NonNegativeInt

from fedlab.strategies.base import Strategy
from fedlab.strategies.families.local_head import LocalHeadParameters


class FedPerParameters(LocalHeadParameters):
    """FedPer's parameters.

    Attributes:
        layers: Layers at the end of the network that stay with the client (K_P in the paper), each
            with the normalisation that follows it; a residual block counts as one. 0 is FedAvg.
    """

    name: str = "fedper"
    layers: NonNegativeInt = 1


class FedPer(Strategy[FedPerParameters]):
    """FedAvg over the base layers."""
