"""FedPer, client trainer: train shared and own layers together, send the shared ones.

Federated Learning with Personalization Layers, Arivazhagan, Aggarwal, Singh, Choudhary, 2019,
arXiv 1912.00818.

Up: the base layers. Down: the base layers. Stays: the last layers (personalization layers).
"""

from __future__ import annotations

from fedlab.clients.base import ClientTrainer


class FedPer(ClientTrainer):
    """Local SGD on all layers at once; own layers go on from the client's last round.

    In their first round they start from the network's initial values, the same for all clients.
    """
