"""SiloBN, client trainer: every client keeps its own running statistics.

Siloed Federated Learning for Multi-Centric Histopathology Datasets, Andreux, du Terrail, Beguier,
Tramel, DART workshop at MICCAI 2020, arXiv 2008.07424.

Up: all tensors but running statistics. Down: the same. Stays: running statistics.
"""

from __future__ import annotations

from fedlab.clients.base import ClientTrainer
from fedlab.models.norms import NormPolicy


class SiloBN(ClientTrainer):
    """Local SGD with shared scale and shift but the client's own running statistics."""

    norm_policy = NormPolicy.SHARE_AFFINE
