"""SiloBN, client trainer: local SGD with the client's own running statistics.

See `fedlab.strategies.silobn` for the paper and what travels.
"""

from __future__ import annotations

from fedlab.clients.base import ClientTrainer
from fedlab.models.norms import NormPolicy


class SiloBN(ClientTrainer):
    """Local SGD with shared scale and shift but the client's own running statistics."""

    norm_policy = NormPolicy.SHARE_AFFINE
