"""What fedlab's grids share: node ids, message ids, and client states between rounds."""

from __future__ import annotations

import logging
import math
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, NoReturn

from flwr.app import Message, MessageType, RecordDict
from flwr.serverapp import Grid

from fedlab.engine.execution import Choice
from fedlab.engine.worker import Job
from fedlab.flower_compat import NodeInfo, Run, assume_identity, stamp

log = logging.getLogger("fedlab")

FIRST_NODE_ID = 1000
"""Node id of client 0; Flower keeps small ids for itself."""

LATE = "not finished before the deadline"
"""Why a client counts as failed that takes too long."""


class SimulationGrid(Grid):
    """A Flower grid whose nodes are the logical clients 0, 1, ... of a partition.

    Ids are in order and known at once, so that cohorts drawn over them are reproducible and no
    round starts before its clients exist.

    Args:
        sizes: Training samples of each logical client.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        self.clients = len(sizes)
        self.sizes = sizes
        self.choice: Choice | None = None
        """How clients are executed; chosen when the first of them are to train."""
        self._run = assume_identity()
        self._pending: dict[str, Message] = {}
        self.states: dict[int, Any] = {}
        """Client -> what it keeps, as this grid holds it (a record, or a reference to one)."""
        self.changed: set[int] = set()
        """Clients whose state changed since the last checkpoint."""

    @property
    def run(self) -> Run:
        """Flower's description of the run."""
        return self._run

    def set_run(self, run: Run) -> None:
        """Takes over Flower's description of the run."""
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

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Takes messages in; they are worked on when their replies are pulled."""
        stamped = [stamp(message) for message in messages]
        self._pending.update({message.metadata.message_id: message for message in stamped})
        return [message.metadata.message_id for message in stamped]

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Works on messages that were pushed and returns their replies."""
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
        return list(self._execute(groups, timeout))

    def _together(self, group: Sequence[Message]) -> list[Sequence[Message]]:
        """Stacks of messages with one content whose clients train as one; [] if one by one."""
        if self.choice is None or self.choice.stack == 1 or not is_training(group):
            return []
        return stacks(largest_first(group, self.sizes), self.choice.stack)

    @abstractmethod
    def _choose(self, messages: Sequence[Message]) -> Choice:
        """How clients are to be executed, given those of the first round."""

    @abstractmethod
    def _execute(
        self, groups: Sequence[Sequence[Message]], timeout: float | None
    ) -> Iterator[Message]:
        """Yields one reply to each message, in any order; those of a group share their content."""

    @abstractmethod
    def export_states(self, clients: Iterable[int]) -> dict[int, RecordDict]:
        """What these clients keep, as records in this process."""

    @abstractmethod
    def import_states(self, states: Mapping[int, RecordDict]) -> None:
        """Puts client states back, as after a resume."""

    @abstractmethod
    def close(self) -> None:
        """Releases whatever the grid holds."""

    def __enter__(self) -> SimulationGrid:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def job_of(message: Message) -> Job:
    """The part of a message that is its client's own."""
    return Job(message.metadata, message.metadata.dst_node_id - FIRST_NODE_ID)


def by_content(messages: Sequence[Message]) -> list[list[Message]]:
    """Messages grouped by the content object they share, in order."""
    groups: dict[int, list[Message]] = {}
    for message in messages:
        groups.setdefault(id(message.content), []).append(message)
    return list(groups.values())


def is_training(messages: Sequence[Message]) -> bool:
    """Whether messages (of one kind) ask clients to train."""
    return messages[0].metadata.message_type == MessageType.TRAIN


def largest_first(messages: Sequence[Message], sizes: Sequence[int]) -> list[Message]:
    """Messages by their clients' training samples, then by client."""

    def key(message: Message) -> tuple[int, int]:
        client = job_of(message).client
        return -int(sizes[client]), client

    return sorted(messages, key=key)


def stacks(messages: Sequence[Message], most: int) -> list[Sequence[Message]]:
    """Cuts messages into as few equal stacks as hold at most so many clients each.

    Where a stack begins depends on nothing but the messages: numbers may depend, in their last
    bits, on who is in a stack, and must not depend on how many processes there are.
    """
    count = math.ceil(len(messages) / most)
    edges = [len(messages) * k // count for k in range(count + 1)]
    return [messages[start:end] for start, end in pairwise(edges)]
