"""What fedlab's grids share: node ids, message ids, and client states between rounds."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from fedlab.engine.worker import Job
from fedlab.flower_compat import NodeInfo, Run, assume_identity, stamp

FIRST_NODE_ID = 1000
"""Node id of client 0; Flower keeps small ids for itself."""

LATE = "not finished before the deadline"
"""Why a client counts as failed that takes too long."""


class SimulationGrid(Grid):
    """A Flower grid whose nodes are the logical clients 0, 1, ... of a partition.

    Ids are in order and known at once, so that cohorts drawn over them are reproducible and no
    round starts before its clients exist.

    Args:
        clients: Number of logical clients.
    """

    def __init__(self, clients: int) -> None:
        self.clients = clients
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
        return list(self._execute([stamp(message) for message in messages], timeout))

    @abstractmethod
    def _execute(self, messages: Sequence[Message], timeout: float | None) -> Iterator[Message]:
        """Yields one reply to each message, in any order."""

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
