"""Centralised training, client trainer: ordinary training, on the samples of all clients.

Up: the whole model. Down: the whole model. Stays: nothing.
"""

from __future__ import annotations

from fedlab.clients.base import ClientTrainer


class Centralised(ClientTrainer):
    """Local SGD from the received model, which is the one this client sent."""
