"""Local only, client trainer: train the own model on the own samples.

Up: nothing. Down: nothing. Stays: the whole model.
"""

from __future__ import annotations

from fedlab.clients.base import ClientTrainer


class LocalOnly(ClientTrainer):
    """Local SGD that goes on from the client's last round."""
