"""FedBN, client trainer: every client keeps its own normalisation layers.

FedBN: Federated Learning on Non-IID Features via Local Batch Normalization, Li, Jiang, Zhang,
Kamp, Dou, ICLR 2021, arXiv 2102.07623.

Up: all tensors but those of normalisation layers. Down: the same. Stays: normalisation layers
(scale, shift and running statistics).
"""

from __future__ import annotations

from fedlab.clients.base import ClientTrainer
from fedlab.models.norms import NormPolicy


class FedBN(ClientTrainer):
    """Local SGD on the received tensors and the client's own normalisation layers."""

    norm_policy = NormPolicy.LOCAL_ALL
