"""Clients with different networks in one process: a runtime for each network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from fedlab.clients.base import ClientState, Received, Update
from fedlab.data.samples import FederatedData
from fedlab.engine.execution.evaluation import DomainScore
from fedlab.engine.execution.executor import Trained
from fedlab.engine.execution.low_rank_rule import Form
from fedlab.engine.execution.runtime import Runtime
from fedlab.federation.preaggregation import Preaggregation
from fedlab.models.per_client import PerClient
from fedlab.partition.partition import Partition
from fedlab.scenario import Scenario

T = TypeVar("T")


class MixedRuntime(Runtime):
    """Trains and tests each client with its own network; clients with the same one as one.

    What does not depend on a client is that of the first network. Samples are kept, and read
    ahead, once for all networks.

    Args:
        scenario: The experiment, with several networks.
        data: The pooled samples.
        partition: Which of them belong to which client.
        device: Where to compute.
    """

    def __init__(
        self, scenario: Scenario, data: FederatedData, partition: Partition, device: torch.device
    ) -> None:
        assert isinstance(scenario.model, PerClient)
        self.networks = scenario.model
        first, *others = scenario.networks
        super().__init__(first, data, partition, device)
        self.scenario = scenario
        self.parts = [
            Runtime(each, data, partition, device, samples=self.samples)
            for each in (first, *others)
        ]

    def takes(self, form: Form) -> None:
        """See `Runtime.takes`."""
        for part in self.parts:
            part.takes(form)

    def part(self, client: int) -> Runtime:
        """The runtime of a client's network."""
        return self.parts[self.networks.place_of(client)]

    def train(
        self,
        client: int,
        received: Received,
        client_state: ClientState,
        into: Preaggregation | None = None,
    ) -> Trained:
        """See `Runtime.train`."""
        return self.part(client).train(client, received, client_state, into)

    def train_many(
        self,
        clients: Sequence[int],
        received: Received,
        client_states: Sequence[ClientState],
        into: Preaggregation | None = None,
    ) -> list[Trained]:
        """See `Runtime.train_many`."""
        return self._apart(
            clients,
            client_states,
            lambda part, some, states: part.train_many(some, received, states, into),
        )

    def evaluate_many(
        self, clients: Sequence[int], received: Received, client_states: Sequence[ClientState]
    ) -> list[list[DomainScore]]:
        """See `Runtime.evaluate_many`."""
        return self._apart(
            clients,
            client_states,
            lambda part, some, states: part.evaluate_many(some, received, states),
        )

    def answer(self, client: int, question: str, received: Received) -> Update:
        """See `Runtime.answer`."""
        return self.part(client).answer(client, question, received)

    def outgoing(
        self, client: int, received: Received, client_state: ClientState, update: Update
    ) -> Update:
        """See `Runtime.outgoing`."""
        return self.part(client).outgoing(client, received, client_state, update)

    def _apart(
        self,
        clients: Sequence[int],
        states: Sequence[ClientState],
        action: Callable[[Runtime, list[int], list[ClientState]], list[T]],
    ) -> list[T]:
        """What comes of an action on the clients of each network, in the order of clients."""
        found: dict[int, T] = {}
        for place, part in enumerate(self.parts):
            some = [
                k for k, client in enumerate(clients) if self.networks.place_of(client) == place
            ]
            if some:
                done = action(part, [clients[k] for k in some], [states[k] for k in some])
                found |= zip(some, done, strict=True)
        return [found[k] for k in range(len(clients))]
