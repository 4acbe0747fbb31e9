"""LG-FedAvg, client trainer: trains the client's own representation and the shared last layers.

See `fedlab.strategies.lg_fedavg` for the paper and what travels.
"""

from __future__ import annotations

from fedlab.clients.base import ClientTrainer


class LGFedAvg(ClientTrainer):
    """Local SGD on all layers at once; personal layers continue from the client's last round."""
