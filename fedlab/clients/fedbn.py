"""FedBN, client trainer: local SGD with the client's own normalisation layers.

See `fedlab.strategies.fedbn` for the paper and what travels.
"""

from __future__ import annotations

from fedlab.clients.base import ClientTrainer
from fedlab.models.norms import NormPolicy


class FedBN(ClientTrainer):
    """Local SGD on the received tensors and the client's own normalisation layers."""

    norm_policy = NormPolicy.LOCAL_ALL
