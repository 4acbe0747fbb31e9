"""Messages under way through a Flower grid, and who waits for their replies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from fedlab.flower_compat.run_grid import RunGrid

OnReply = Callable[[Message], None]

REPLY_BYTES = 1 << 18
"""Bytes of a reply without tensors, at most."""


@dataclass
class PendingMessage:
    """A message under way.

    Attributes:
        on_reply: Called with the reply, once.
        most: Bytes of the reply, at most.
        lost: Whether it could not be handed over, because its node is gone.
        answered: Whether there has been a reply, or the word that there will be none.
    """

    on_reply: OnReply
    most: int = REPLY_BYTES
    lost: bool = False
    answered: bool = False


class Mailbox:
    """Sends messages and hands replies to whoever waits for them.

    Flower's own `Grid.send_and_receive` waits for all of a round's messages, and looks for replies
    every three seconds; this uses the same grid's public halves of it.

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
        """Takes a message in; it goes out, together with others, with the next `collect`.

        Args:
            node: Flower's id of the node that it is for.
            content: Its content.
            kind: Its type.
            on_reply: Called with the reply, once.
            group: Flower's group of messages: the round.
            most: Bytes of the reply, at most.
        """
        message = Message(content, dst_node_id=node, message_type=kind, group_id=group)
        parcel = PendingMessage(on_reply, most)
        self._outbox.append((message, parcel))
        return parcel

    def collect(self) -> None:
        """Sends what is to be sent, and takes in the replies that are there."""
        if self._outbox:
            # Together, so that what several messages share is sent once. Parcels do not hold them:
            # a device that never answers would keep the models of all rounds in memory.
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
                    on_reply, parcel.on_reply = parcel.on_reply, _nobody
                    parcel.answered = True
                    on_reply(reply)

    def _most(self, number: str) -> int:
        """Bytes that the reply to a message may have."""
        parcel = self._waiting.get(number)
        return REPLY_BYTES if parcel is None else parcel.most

    def ignore(self, parcel: PendingMessage) -> None:
        """Throws a message's reply away when it comes, so that it does not stay in memory."""
        parcel.on_reply = _nobody


def _nobody(reply: Message) -> None:
    """Whoever waited for a reply, and all that is known to them, need not be kept any longer."""
