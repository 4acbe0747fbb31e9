"""The base of fedlab's grids: node ids, message ids, and client states between rounds."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from fedlab.engine.client_states import ClientStates
from fedlab.engine.execution.low_rank_rule import Form
from fedlab.engine.execution.mode import ExecutionPlan
from fedlab.engine.work_units import (
    FIRST_NODE_ID,
    WorkUnit,
    by_content,
    cut,
    is_training,
    largest_first,
)
from fedlab.federation.preaggregation import attach, merged
from fedlab.flower_compat import NodeInfo, Run, assume_identity, stamp

log = logging.getLogger("fedlab")

LATE = "not finished before the deadline"
"""Reason of a client that failed because it took too long."""


class ClientGrid(Grid):
    """A Flower grid whose nodes are the logical clients 0, 1, ... of a partition.

    Node ids are consecutive and known from the start, so that cohorts drawn from them are
    reproducible and no round has to wait for clients to register.

    Args:
        sizes: Number of training samples of each logical client.
        tested: Largest number of clients that are tested as one.
        run: Flower's description of the run; by default that of a simulation.
    """

    def __init__(self, sizes: Sequence[int], tested: int = 1, run: Run | None = None) -> None:
        self.clients = len(sizes)
        self.sizes = sizes
        self.tested = tested
        self.choice: ExecutionPlan | None = None
        """How clients are executed; set before the first training messages are processed."""
        self._run = run or assume_identity()
        self._pending: dict[str, Message] = {}
        self.states = ClientStates(self._fetch)
        self.changed: set[int] = set()
        """Clients whose state changed since the last checkpoint."""

    @property
    def run(self) -> Run:
        """Flower's description of the run."""
        return self._run

    def set_run(self, run: Run) -> None:
        """Sets Flower's description of the run."""
        self._run = run

    def create_message(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Deprecated in Flower: make a `Message` instead."""
        raise NotImplementedError("make a flwr.app.Message instead")

    def get_node_ids(self) -> Iterable[int]:
        """Node ids of all clients, in the order of client indices."""
        return range(FIRST_NODE_ID, FIRST_NODE_ID + self.clients)

    def get_nodes(self) -> Iterable[NodeInfo]:
        """All clients, by name."""
        return (
            NodeInfo(node_id=n, name=f"client {n - FIRST_NODE_ID}") for n in self.get_node_ids()
        )

    def turned_away(self) -> dict[str, str]:
        """Refused clients since the last call, by name, with the reasons."""
        return {}

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Stores messages; they are processed when their replies are pulled."""
        stamped = [stamp(message) for message in messages]
        self._pending.update({message.metadata.message_id: message for message in stamped})
        return [message.metadata.message_id for message in stamped]

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Processes messages that were pushed and returns their replies."""
        wanted = [self._pending.pop(i) for i in message_ids if i in self._pending]
        return self.send_and_receive(wanted)

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Sends messages to clients and returns one reply to each.

        Args:
            messages: Messages to any of the nodes.
            timeout: Seconds after which missing replies become error replies.
        """
        groups = by_content([stamp(message) for message in messages])
        if self.choice is None and groups and is_training(groups[0]):
            first = largest_first(groups[0], self.sizes)
            self.choice = self._choose(first)
            log.info("training %s", self.choice)
        units = [unit for group in groups for unit in self._cut(group)]
        replies = list(self._execute(units, timeout))
        attach_sums(units, replies)
        return replies

    @property
    def form(self) -> Form | None:
        """The form of dense layers; None before it is chosen."""
        return self.choice.dense_layers if self.choice else None

    def _cut(self, group: Sequence[Message]) -> list[WorkUnit]:
        stack = self.choice.stack if self.choice else 1
        return cut(group, self.sizes, stack, self.tested, self._travelling(len(group)))

    def _travelling(self, messages: int) -> int:
        """Largest number of messages, answered one by one, in a work unit."""
        return 1

    @abstractmethod
    def _choose(self, messages: Sequence[Message]) -> ExecutionPlan:
        """How clients are executed, chosen with the first round's messages."""

    @abstractmethod
    def _execute(self, units: Sequence[WorkUnit], timeout: float | None) -> Iterator[Message]:
        """Yields one reply to each message of all work units, in any order."""

    def _keep(self, client: int, state: Any, size: int) -> None:
        """Stores a client's new state; `size` is 0 if it is not in this process's memory."""
        self.states.put(client, state, size)
        self.changed.add(client)

    @abstractmethod
    def _hold(self, record: RecordDict) -> tuple[Any, int]:
        """The stored form of a record, and its bytes in this process's memory."""

    @abstractmethod
    def _fetch(self, state: Any) -> RecordDict:
        """The record of a stored form."""

    def export_states(self, clients: Iterable[int]) -> dict[int, RecordDict]:
        """These clients' states, as records in this process."""
        return self.states.records(clients)

    def replace_states(self, states: Mapping[int, RecordDict]) -> None:
        """Puts clients back to these states, and those without one to having none."""
        self.states.close()
        self.import_states(states)

    def import_states(self, states: Mapping[int, RecordDict]) -> None:
        """Restores client states, after a resume."""
        for client, record in states.items():
            self.states.put(client, *self._hold(record))

    def close(self) -> None:
        """Releases the grid's resources."""
        self.states.close()

    def __enter__(self) -> ClientGrid:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def attach_sums(units: Sequence[WorkUnit], replies: Sequence[Message]) -> None:
    """Puts the sum over all clients into the replies of those whose updates are in it."""
    sums = {id(unit.sums): unit.sums for unit in units if unit.sums is not None}
    total = None
    for part in sums.values():
        total = merged(total, part.total())
    if total is None:
        return
    summed = {
        message.metadata.message_id
        for unit in units
        if unit.sums is not None
        for message in unit.messages
    }
    ours = (reply for reply in replies if reply.metadata.reply_to_message_id in summed)
    attach(total, [reply for reply in ours if reply.has_content()])
