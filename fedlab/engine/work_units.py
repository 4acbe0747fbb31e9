"""How a round's messages are cut into work units that a process answers at once.

Nothing here may change a result. Who trains as one, and in which order updates are added, follow
from the messages and the clients' sizes alone; only how many clients travel together may depend on
the number of processes.
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
"""Node id of client 0; Flower keeps small ids for itself."""


@dataclass
class WorkUnit:
    """Messages that share their content.

    Attributes:
        messages: One message for each client.
        sums: Takes in the clients' updates; None if the update of each client is wanted.
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
        """What is each client's own in the messages."""
        return [client_task_of(message) for message in self.messages]

    @property
    def where(self) -> Slots | None:
        """Where the clients' updates belong in a sum; None if no sum is wanted."""
        return None if self.sums is None else Slots(self.start, self.places)

    def take(self, sums: PairwiseSum | None) -> None:
        """Takes in what a worker has added."""
        if self.sums is not None and sums is not None:
            self.sums.merge(sums)

    def split(self) -> Iterator[WorkUnit]:
        """The same clients, one by one."""
        for place, message in enumerate(self.messages, self.start):
            yield WorkUnit([message], self.sums, place)

    def lose(self) -> None:
        """Leaves the clients' slots empty."""
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
    """Cuts messages that share their content into work units, the largest clients first.

    Args:
        messages: The messages.
        sizes: Training samples of each logical client.
        stack: Clients that train as one, at most; 1 is one by one.
        tested: Clients that are tested as one, at most.
        travelling: Clients of a work unit that train one by one, at most.
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
    # A power of two, at a multiple of it, is summed as its clients are when they travel alone.
    several = 1 << max(1, travelling).bit_length() - 1
    return [
        WorkUnit(ordered[start : start + several], sums, start)
        for start in range(0, len(ordered), several)
    ]


def clients_per_batch(partition: Partition, batch_size: int) -> int:
    """Clients whose test samples fill one forward pass: so many are tested as one.

    More would gain nothing, and leave other processes without work.
    """
    return max(1, batch_size * len(partition) // max(1, len(partition.test)))


def client_task_of(message: Message) -> ClientTask:
    """The part of a message that is its client's own."""
    return ClientTask(message.metadata, message.metadata.dst_node_id - FIRST_NODE_ID)


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
        client = message.metadata.dst_node_id - FIRST_NODE_ID
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
