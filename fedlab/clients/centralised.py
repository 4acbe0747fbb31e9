"""Centralised training, client trainer: local SGD on the pooled samples of all clients.

See `fedlab.strategies.centralised` for what travels.
"""

from __future__ import annotations

from fedlab.clients.base import ClientTrainer


class Centralised(ClientTrainer):
    """Local SGD from the received model, which is the one this client sent."""
