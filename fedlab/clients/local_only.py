"""Local only, local half: train the own model on the own samples.

Up: nothing. Down: nothing. Stays: the whole model.
"""

from __future__ import annotations

from fedlab.clients.base import LocalHalf


class LocalOnly(LocalHalf):
    """Local SGD that goes on from the client's last round."""
