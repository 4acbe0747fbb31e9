"""Local only, client trainer: local SGD on the client's own model.

See `fedlab.strategies.local_only` for what travels.
"""

from __future__ import annotations

from fedlab.clients.base import ClientTrainer


class LocalOnly(ClientTrainer):
    """Local SGD that continues from the client's last round."""
