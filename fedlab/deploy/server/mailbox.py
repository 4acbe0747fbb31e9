"""Sends messages through a Flower grid and passes replies to callbacks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from fedlab.flower_compat.run_grid import RunGrid

OnReply = Callable[[Message], None]

REPLY_BYTES = 1 << 18
"""Largest size of a reply without tensors in bytes."""


@dataclass
class PendingMessage:
    """A message under way.

    Attributes:
        on_reply: Called with the reply, once.
        most: Largest size of the reply in bytes.
        lost: Whether it could not be delivered, as its node is gone.
        answered: Whether a reply, or an error in its place, has arrived.
    """

    on_reply: OnReply
    most: int = REPLY_BYTES
    lost: bool = False
    answered: bool = False


class Mailbox:
    """Sends messages and calls their callbacks with the replies.

    Flower's `Grid.send_and_receive` waits for all of a round's messages and polls every three
    seconds; this uses the grid's `push_messages` and `pull_messages` directly.

    Args:
        grid: Flower's grid.
    """

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self._outbox: list[tuple[Message, PendingMessage]] = []
        self._waiting: dict[str, PendingMessage] = {}
        if isinstance(grid, RunGrid):
            grid.most = self._most

    def send(
        self,
        node: int,
        content: RecordDict,
        kind: str,
        on_reply: OnReply,
        group: str = "",
        most: int = REPLY_BYTES,
    ) -> PendingMessage:
        """Queues a message; the next `collect` sends it, together with others.

        Args:
            node: Flower's id of the receiving node.
            content: Its content.
            kind: Its type.
            on_reply: Called with the reply, once.
            group: Flower's group of messages: the round.
            most: Largest size of the reply in bytes.
        """
        message = Message(content, dst_node_id=node, message_type=kind, group_id=group)
        parcel = PendingMessage(on_reply, most)
        self._outbox.append((message, parcel))
        return parcel

    def collect(self) -> None:
        """Sends the queued messages, and passes arrived replies to their callbacks."""
        if self._outbox:
            # Together, so that shared content is sent once. Parcels do not refer to messages, as a
            # device that never answers would keep the models of all rounds in memory.
            sent, self._outbox = self._outbox, []
            numbers = list(self.grid.push_messages([message for message, _ in sent]))
            for (_, parcel), number in zip(sent, numbers, strict=True):
                parcel.lost = not number
                if number:
                    self._waiting[number] = parcel
        if self._waiting:
            for reply in self.grid.pull_messages(list(self._waiting)):
                parcel = self._waiting.pop(reply.metadata.reply_to_message_id, None)
                if parcel is not None:
                    on_reply, parcel.on_reply = parcel.on_reply, _discard
                    parcel.answered = True
                    on_reply(reply)

    def _most(self, number: str) -> int:
        """Largest size of the reply to a message in bytes."""
        parcel = self._waiting.get(number)
        return REPLY_BYTES if parcel is None else parcel.most

    def ignore(self, parcel: PendingMessage) -> None:
        """Discards a message's reply when it arrives, so that it does not stay in memory."""
        parcel.on_reply = _discard


def _discard(reply: Message) -> None:
    """Ignores a reply; in place of a callback, whose objects can then be freed."""
