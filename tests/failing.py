"""Local halves that misbehave, for tests of what happens then."""

from __future__ import annotations

import time

from fedlab.clients.base import Carry, ClientState, Received
from fedlab.clients.fedavg import FedAvg


class FailsOnOne(FedAvg):
    """Raises for the client whose domain is the brightest but one."""

    def begin(self, received: Received, own_state: ClientState) -> Carry:
        """Tells clients apart by a call counter: clients answer in order in this process."""
        self.calls = getattr(self, "calls", 0) + 1
        if self.calls % 3 == 2:
            raise ValueError("no luck")
        return super().begin(received, own_state)


class Slow(FedAvg):
    """Takes its time."""

    def begin(self, received: Received, own_state: ClientState) -> Carry:
        """Sleeps before training."""
        time.sleep(1.0)
        return super().begin(received, own_state)
