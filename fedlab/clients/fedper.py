"""FedPer, client trainer: local SGD on shared and personal layers together.

See `fedlab.strategies.fedper` for the paper and what travels.
"""

from __future__ import annotations

from fedlab.clients.base import ClientTrainer


class FedPer(ClientTrainer):
    """Local SGD on all layers at once; personal layers continue from the client's last round.

    In their first round they start from the network's initial values, the same for all clients.
    """
