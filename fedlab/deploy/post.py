"""Messages under way through a Flower grid, and who waits for their replies."""

from __future__ import annotations

from collections.abc import Callable

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

OnReply = Callable[[Message], None]


class Post:
    """Sends messages and hands replies to whoever waits for them.

    Flower's own `Grid.send_and_receive` waits for all of a round's messages, and looks for replies
    every three seconds; this uses the same grid's public halves of it.

    Args:
        grid: Flower's grid.
    """

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self._waiting: dict[str, OnReply] = {}

    def send(
        self, node: int, content: RecordDict, kind: str, on_reply: OnReply, group: str = ""
    ) -> str | None:
        """Sends a message.

        Args:
            node: Flower's id of the node that it is for.
            content: Its content.
            kind: Its type.
            on_reply: Called with the reply, once.
            group: Flower's group of messages: the round.

        Returns:
            The message's id; None if there is no such node any more.
        """
        message = Message(content, dst_node_id=node, message_type=kind, group_id=group)
        number = next(iter(self.grid.push_messages([message])), None)
        if number:
            self._waiting[number] = on_reply
        return number or None

    def collect(self) -> None:
        """Takes in the replies that are there."""
        if not self._waiting:
            return
        for reply in self.grid.pull_messages(list(self._waiting)):
            on_reply = self._waiting.pop(reply.metadata.reply_to_message_id, None)
            if on_reply is not None:
                on_reply(reply)

    def ignore(self, number: str) -> None:
        """Throws a message's reply away when it comes, so that it does not stay in memory."""
        if number in self._waiting:
            self._waiting[number] = lambda reply: None
