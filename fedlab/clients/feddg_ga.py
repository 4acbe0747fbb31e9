"""FedDG-GA, client trainer: local SGD; the two losses are measured by the tests of clients.

See `fedlab.strategies.feddg_ga` for the paper and what travels.
"""

from __future__ import annotations

from fedlab.clients.base import ClientTrainer


class FedDGGA(ClientTrainer):
    """Local SGD, as in FedAvg."""
