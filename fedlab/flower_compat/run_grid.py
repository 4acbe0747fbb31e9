"""A grid that sends messages through a SuperLink; uses names of Flower that are not public."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, cast

import httpx
from flwr.app import Error, Message, Metadata
from flwr.app.message import make_message
from flwr.common.constant import (
    SUPERLINK_NODE_ID,
    ErrorCode,
)
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest
from flwr.proto.runtime_pb2 import PullAppMessagesRequest
from flwr.serverapp import Grid
from flwr.supercore.constant import (
    SYSTEM_MESSAGE_TYPE,
)
from flwr.supercore.inflatable.inflatable_object import iterate_object_tree
from flwr.supercore.inflatable.inflatable_protobuf_utils import make_pull_object_fn_protobuf
from flwr.supercore.inflatable.inflatable_utils import (
    ObjectPullError,
    ObjectPushError,
    inflate_object_from_contents,
    pull_objects,
)
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity
from flwr.superlink.grid import HttpGrid

from fedlab.flower_compat.superlink_client import Ticket

__all__ = ["ObjectPushError", "RunGrid", "connect", "is_lost"]

RETRY_SECONDS = 600.0
"""For how long a call to the SuperLink on this machine is tried again before it fails, as long as
there is one: behind many slow devices it may be a while before it answers."""

PART_BYTES = 5 << 20
"""Bytes of the parts into which Flower cuts an array."""

MOST_PARTS = 4096
"""Parts that a reply may have besides those of its arrays."""

LOST = (
    ErrorCode.NODE_UNAVAILABLE,
    ErrorCode.MESSAGE_UNAVAILABLE,
    ErrorCode.REPLY_MESSAGE_UNAVAILABLE,
)
"""Errors by which a SuperLink says that a message or its reply got lost on the way."""


@dataclass
class _Arriving:
    """A reply that a node has announced to the SuperLink, and the parts of it that are here."""

    number: str
    parts: list[str]
    node: int
    here: dict[str, bytes] = field(default_factory=dict)
    gone: bool = False


class TooLargeError(Exception):
    """A reply exceeds its largest size."""


class RunGrid(HttpGrid):
    """Flower's grid, which does not wait for replies that are still being sent.

    Flower's own waits for every part of a reply that a node has begun to send, up to three minutes
    if the node has died, and for the replies of all others meanwhile.
    """

    def __init__(
        self, address: str, authority: bytes | None, token: str, alive: Callable[[], bool]
    ) -> None:
        super().__init__(address, authority is None, authority, token=token)
        invoker = self._retry_invoker
        gives_up = invoker.should_giveup
        invoker.max_time = RETRY_SECONDS
        invoker.should_giveup = lambda error: not alive() or bool(gives_up and gives_up(error))
        self._arriving: dict[str, _Arriving] = {}
        self.most: Callable[[str], float] = lambda number: math.inf
        """Bytes that the reply to a message may have."""

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        """The replies to these messages that are complete."""
        asked = [number for number in message_ids if number not in self._arriving]
        if asked:
            response = self._runtime_client.PullMessages(PullAppMessagesRequest(message_ids=asked))
            trees = response.message_object_trees
            for reply, tree in zip(response.messages_list, trees, strict=True):
                parts = [part.object_id for part in iterate_object_tree(tree)]
                about = reply.metadata
                self._arriving[about.reply_to_message_id] = _Arriving(
                    about.message_id, parts, about.src_node_id
                )
        found = []
        for number, arriving in list(self._arriving.items()):
            try:
                message = self._whole(number, arriving)
            except (httpx.HTTPError, ObjectPushError):
                raise  # the SuperLink itself is in trouble
            except Exception as error:  # a node's reply may be malformed in any way
                message = self._refused(number, arriving, f"its reply cannot be read: {error!r}")
            if message is not None:
                del self._arriving[number]
                found.append(message)
        return found

    def _whole(self, answers: str, reply: _Arriving) -> Message | None:
        """The reply, once all parts are here or some are known to be lost."""
        run_id = self.run.run_id
        pull = make_pull_object_fn_protobuf(self._runtime_client.PullObject, self.node, run_id)

        def hold(part: str) -> bytes:
            try:
                reply.here[part] = pull(part)
            except ObjectPullError:
                reply.gone = True
                raise
            if sum(map(len, list(reply.here.values()))) > most:
                raise TooLargeError
            return reply.here[part]

        most = self.most(answers)
        missing = [part for part in dict.fromkeys(reply.parts) if part not in reply.here]
        if len(reply.parts) > MOST_PARTS + most / PART_BYTES:
            return self._refused(answers, reply, f"its reply has {len(reply.parts)} parts")
        try:
            pull_objects(missing, hold, max_tries_per_object=1)
        except ObjectPullError:
            return self._lost(answers) if reply.gone else None
        except TooLargeError:
            why = f"its reply has more than the {most:.0f} bytes that it may have"
            return self._refused(answers, reply, why)
        self._forget(reply)
        message = cast(Message, inflate_object_from_contents(reply.number, reply.here))
        # The SuperLink has checked who answers what; what stands in the reply is its node's word.
        message.metadata.__dict__["_message_id"] = reply.number
        message.metadata.__dict__["_reply_to_message_id"] = answers
        message.metadata.__dict__["_src_node_id"] = reply.node
        return message

    def _lost(self, answers: str) -> Message:
        """The error reply that stands for a lost one."""
        code, reason = ErrorCode.MESSAGE_UNAVAILABLE, "its sender stopped in the middle of it"
        return self._error(answers, Error(code, reason))

    def _forget(self, reply: _Arriving) -> None:
        """Has the SuperLink delete a reply."""
        self._runtime_client.ConfirmMessageReceived(
            ConfirmMessageReceivedRequest(
                node=self.node, run_id=self.run.run_id, message_object_id=reply.number
            )
        )

    def _refused(self, answers: str, reply: _Arriving, why: str) -> Message:
        """The error reply that stands for an unusable one."""
        self._forget(reply)
        return self._error(answers, Error(ErrorCode.UNKNOWN, why))

    def _error(self, answers: str, error: Error) -> Message:
        node = self.node.node_id
        about = Metadata(
            run_id=self.run.run_id,
            message_id="",
            src_node_id=node,
            dst_node_id=node,
            message_type=SYSTEM_MESSAGE_TYPE,
            group_id="",
            ttl=0,
            reply_to_message_id=answers,
            created_at=time.time(),
        )
        return make_message(metadata=about, error=error)


def connect(
    address: str,
    ticket: Ticket,
    authority: bytes | None,
    alive: Callable[[], bool] = lambda: True,
) -> Grid:
    """Makes this process the ServerApp of a run; returns the grid for its messages.

    Args:
        address: Host and port of the SuperLink.
        ticket: From `Link.open_run`.
        authority: Certificate authority as PEM; None speaks without TLS.
        alive: Whether the SuperLink is still there; calls to it are tried again while it is.
    """
    TaskIdentity.run_id = ticket.run_id
    TaskIdentity.task_id = ticket.task_id
    TaskIdentity.node_id = SUPERLINK_NODE_ID
    grid = RunGrid(address, authority, ticket.token, alive)
    run = Run.create_empty(run_id=ticket.run_id)
    grid.set_run(replace(run, primary_task_id=ticket.task_id))
    return grid


def is_lost(reply: Any) -> bool:
    """Whether a reply is the SuperLink's error for a lost reply."""
    ours = reply.metadata.src_node_id == SUPERLINK_NODE_ID  # a node may say so, too
    return ours and reply.has_error() and reply.error.code in LOST
