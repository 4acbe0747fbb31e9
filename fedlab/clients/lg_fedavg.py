"""LG-FedAvg, client trainer: train an own representation and the shared last layers together.

Think Locally, Act Globally: Federated Learning with Local and Global Representations, Liang, Liu,
Ziyin, Allen, Auerbach, Brent, Salakhutdinov, Morency, NeurIPS 2019 Workshop on Federated Learning,
arXiv 2001.01523.

Up: the last layers. Down: the last layers. Stays: the first layers (the representation).
"""

from __future__ import annotations

from fedlab.clients.base import ClientTrainer


class LGFedAvg(ClientTrainer):
    """Local SGD on all layers at once; own layers go on from the client's last round."""
