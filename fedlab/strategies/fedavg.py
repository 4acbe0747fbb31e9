"""FedAvg, strategy: the mean of the clients' models, weighted by their examples.

Communication-Efficient Learning of Deep Networks from Decentralized Data, McMahan, Moore, Ramage,
Hampson, Agüera y Arcas, AISTATS 2017, arXiv 1602.05629.

Up: the whole model. Down: the whole model. Stays: nothing.
"""

from __future__ import annotations

from fedlab.strategies.base import Strategy
from fedlab.strategies.parameters import StrategyParameters


class FedAvg(Strategy):
    """w ← Σ n_k w_k / Σ n_k (Algorithm 1 of the paper)."""

    class Parameters(StrategyParameters):
        """FedAvg has no further parameters."""

        name: str = "fedavg"
