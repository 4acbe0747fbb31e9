"""Stands in for Flower's grid."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from flwr.app import Message, RecordDict

from fedlab import flower_compat
from fedlab.flower_compat import NodeInfo

Answer = Callable[[Message], RecordDict | Message | None]


class Network:
    """Stands in for Flower's grid: nodes that answer every message when they are asked to."""

    def __init__(self) -> None:
        self.run = flower_compat.assume_identity()
        self.answers: dict[int, Answer] = {}
        self.sent: list[Message] = []
        self._replies: dict[str, Message] = {}

    def get_nodes(self) -> Iterator[NodeInfo]:
        return (NodeInfo(node_id=node, last_activated_at="now") for node in self.answers)

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        numbers = []
        for message in messages:
            self.sent.append(flower_compat.stamp(message))
            numbers.append(message.metadata.message_id)
            self.answer(message, self.answers[message.metadata.dst_node_id](message))
        return numbers

    def answer(self, message: Message, content: RecordDict | Message | None) -> None:
        if isinstance(content, RecordDict):
            content = Message(content, reply_to=message)
        if content is not None:
            self._replies[message.metadata.message_id] = content

    def pull_messages(self, numbers: Iterable[str]) -> list[Message]:
        return [self._replies.pop(number) for number in numbers if number in self._replies]

    def messages_of(self, kind: str) -> dict[int, Message]:
        """Messages of a kind, by node."""
        return {m.metadata.dst_node_id: m for m in self.sent if m.metadata.message_type == kind}
