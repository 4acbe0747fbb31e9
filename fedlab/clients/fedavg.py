"""FedAvg, client trainer: local SGD from the received model.

See `fedlab.strategies.fedavg` for the paper and what travels.
"""

from __future__ import annotations

from fedlab.clients.base import ClientTrainer


class FedAvg(ClientTrainer):
    """Local SGD from the global model (Algorithm 1, ClientUpdate)."""
