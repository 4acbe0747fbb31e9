"""Divides a round's messages into work units, each answered by one call of a worker.

The division does not change results: stacks and the order of sums depend only on the messages and
the clients' sizes. Only the size of other work units may depend on the number of processes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from flwr.app import Message, MessageType

from fedlab.engine.worker import ClientTask
from fedlab.federation.preaggregation import REQUEST, PairwiseSum, Slots
from fedlab.partition.partition import Partition

FIRST_NODE_ID = 1000
"""Node id of client 0; Flower reserves small ids."""


@dataclass
class WorkUnit:
    """Messages that share their content.

    Attributes:
        messages: One message for each client.
        sums: Sum to which the clients' updates are added; None if each update is needed.
        start: The first client's slot in these sums.
        places: Slots of all clients together if they train as one; else each has one.
        together: Whether they train, or are tested, as one.
    """

    messages: Sequence[Message]
    sums: PairwiseSum | None = None
    start: int = 0
    places: int = 1
    together: bool = False

    @property
    def kind(self) -> str:
        """The type of the messages."""
        return self.messages[0].metadata.message_type

    @property
    def tasks(self) -> list[ClientTask]:
        """The metadata and client of each message."""
        return [client_task_of(message) for message in self.messages]

    @property
    def clients(self) -> list[int]:
        """The client of each message."""
        return [task.client for task in self.tasks]

    @property
    def where(self) -> Slots | None:
        """The slots of the clients' updates in `sums`; None without a sum."""
        return None if self.sums is None else Slots(self.start, self.places)

    def take(self, sums: PairwiseSum | None) -> None:
        """Adds a worker's sums."""
        if self.sums is not None and sums is not None:
            self.sums.merge(sums)

    def split(self) -> Iterator[WorkUnit]:
        """One work unit for each client."""
        for place, message in enumerate(self.messages, self.start):
            yield WorkUnit([message], self.sums, place)

    def lose(self) -> None:
        """Marks the clients' slots as empty, after a failure."""
        if self.sums is None:
            return
        if self.together:
            self.sums.add(self.start, self.places, None)
            return
        for place in range(self.start, self.start + len(self.messages)):
            self.sums.add(place, 1, None)


def cut(
    messages: Sequence[Message], sizes: Sequence[int], stack: int, tested: int, travelling: int
) -> list[WorkUnit]:
    """Divides messages that share their content into work units, the largest clients first.

    Args:
        messages: The messages.
        sizes: Number of training samples of each logical client.
        stack: Largest number of clients that train as one; 1 is one by one.
        tested: Largest number of clients that are tested as one.
        travelling: Largest number of clients that train one by one in a work unit.
    """
    ordered = largest_first(messages, sizes)
    sums = PairwiseSum() if REQUEST in messages[0].content else None
    if stack > 1 and is_training(messages):
        places = 1 << (min(stack, len(ordered)) - 1).bit_length()
        return [
            WorkUnit(members, sums, index * places, places, together=True)
            for index, members in enumerate(stacks(ordered, stack))
        ]
    if tested > 1 and messages[0].metadata.message_type == MessageType.EVALUATE:
        return [WorkUnit(members, together=True) for members in stacks(ordered, tested)]
    # Units of a power of two, at multiples of it, have the same order of sums as single clients.
    several = 1 << max(1, travelling).bit_length() - 1
    return [
        WorkUnit(ordered[start : start + several], sums, start)
        for start in range(0, len(ordered), several)
    ]


def clients_per_batch(partition: Partition, batch_size: int) -> int:
    """Number of clients whose test samples fill one forward pass: so many are tested as one.

    More are not faster and would leave other processes idle.
    """
    return max(1, batch_size * len(partition) // max(1, len(partition.test)))


def client_task_of(message: Message) -> ClientTask:
    """The metadata and client of a message."""
    return ClientTask(message.metadata, message.metadata.dst_node_id - FIRST_NODE_ID)


def by_content(messages: Sequence[Message]) -> list[list[Message]]:
    """Messages grouped by the content object they share, in order."""
    groups: dict[int, list[Message]] = {}
    for message in messages:
        groups.setdefault(id(message.content), []).append(message)
    return list(groups.values())


def is_training(messages: Sequence[Message]) -> bool:
    """Whether messages (of one type) are training messages."""
    return messages[0].metadata.message_type == MessageType.TRAIN


def largest_first(messages: Sequence[Message], sizes: Sequence[int]) -> list[Message]:
    """Messages by their clients' training samples, descending, then by client."""

    def key(message: Message) -> tuple[int, int]:
        client = message.metadata.dst_node_id - FIRST_NODE_ID
        return -int(sizes[client]), client

    return sorted(messages, key=key)


def stacks(messages: Sequence[Message], most: int) -> list[Sequence[Message]]:
    """Divides messages into the fewest equal stacks of at most `most` clients.

    Stacks depend only on the messages: rounding depends on which clients are in a stack, and must
    not depend on the number of processes.
    """
    count = math.ceil(len(messages) / most)
    edges = [len(messages) * k // count for k in range(count + 1)]
    return [messages[start:end] for start, end in pairwise(edges)]
