"""FedAvg, client trainer: train the received model on the client's own samples.

Communication-Efficient Learning of Deep Networks from Decentralized Data, McMahan, Moore, Ramage,
Hampson, Agüera y Arcas, AISTATS 2017, arXiv 1602.05629.

Up: the whole model. Down: the whole model. Stays: nothing.
"""

from __future__ import annotations

from fedlab.clients.base import ClientTrainer


class FedAvg(ClientTrainer):
    """Local SGD from the global model (Algorithm 1, ClientUpdate)."""
