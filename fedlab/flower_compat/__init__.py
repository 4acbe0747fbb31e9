"""The only package that uses names of Flower which are not public.

Everything here is pinned by ``flwr==1.41.*`` and by a contract test; when Flower moves one of
these names, this package and that test are the only places that change.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from typing import Any, TypeVar

from flwr.app import ConfigRecord, Context, Error, Message, Metadata, MetricRecord, RecordDict
from flwr.app.message import make_message
from flwr.common.constant import SUPERLINK_NODE_ID, ErrorCode
from flwr.proto.node_pb2 import NodeInfo
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

__all__ = [
    "NodeInfo",
    "Run",
    "assume_identity",
    "client_context",
    "error_reply",
    "is_refused",
    "message_for",
    "message_to",
    "refused_reply",
    "reply_for",
    "stamp",
    "with_values",
]

RUN_ID = 1

Record = TypeVar("Record", RecordDict, MetricRecord, ConfigRecord)


def assume_identity() -> Run:
    """Makes this process the server task of a run, without which no `Message` can be made."""
    TaskIdentity.run_id = RUN_ID
    TaskIdentity.task_id = RUN_ID
    TaskIdentity.node_id = SUPERLINK_NODE_ID
    run = Run.create_empty(run_id=RUN_ID)
    run.primary_task_id = RUN_ID
    return run


def stamp(message: Message) -> Message:
    """Gives a message the id that a SuperLink would give it."""
    if not message.metadata.message_id:
        message.metadata.__dict__["_message_id"] = uuid.uuid4().hex
    return message


def with_values(record: Record, values: Mapping[str, Any]) -> Record:
    """The record with values that are known to have its types.

    Flower checks the type of each value, which takes longer than all else that is done for a reply.
    """
    record.__dict__["_data"].update(values)
    return record


def message_for(metadata: Metadata, content: RecordDict) -> Message:
    """A message as a client receives it."""
    return make_message(metadata=metadata, content=content)


def message_to(node: int, message: Message, content: RecordDict) -> Message:
    """A message like another one, to a node and with a content of its own."""
    return _made_like(message.metadata, content, _message_id="", _dst_node_id=node)


def reply_for(metadata: Metadata, content: RecordDict) -> Message:
    """The reply to a message with this metadata, as Flower makes it of the message."""
    now = time.time()
    return _made_like(
        metadata,
        content,
        _message_id="",
        _src_node_id=metadata.dst_node_id,
        _dst_node_id=metadata.src_node_id,
        _reply_to_message_id=metadata.message_id,
        _created_at=now,
        _ttl=metadata.created_at + metadata.ttl - now,
        _src_task_id=metadata.dst_task_id,
        _dst_task_id=metadata.src_task_id,
    )


def _made_like(metadata: Metadata, content: RecordDict, **changes: Any) -> Message:
    """A message with changed metadata, of parts that Flower's constructors have checked before."""
    changed, message = Metadata.__new__(Metadata), Message.__new__(Message)
    changed.__dict__.update(metadata.__dict__, **changes)
    message.__dict__.update(_metadata=changed, _content=content, _error=None)
    return message


def error_reply(message: Message, reason: str, *, crashed: bool = False) -> Message:
    """The reply of a client that raised (or whose process died) while answering `message`."""
    code = ErrorCode.CLIENT_APP_CRASHED if crashed else ErrorCode.CLIENT_APP_RAISED_EXCEPTION
    return Message(Error(code=code, reason=reason), reply_to=message)


def refused_reply(message: Message, reason: str) -> Message:
    """The reply of a client whose answer to `message` is not used."""
    return Message(Error(code=ErrorCode.MOD_FAILED_PRECONDITION, reason=reason), reply_to=message)


def is_refused(reply: Message) -> bool:
    """Whether a client has answered and its answer is not used."""
    return reply.has_error() and reply.error.code == ErrorCode.MOD_FAILED_PRECONDITION


def client_context(node_id: int, client: int, clients: int, state: RecordDict) -> Context:
    """The context of one logical client, with the keys that Flower's own simulator sets."""
    return Context(
        run_id=RUN_ID,
        node_id=node_id,
        node_config={"partition-id": client, "num-partitions": clients},
        state=state,
        run_config={},
    )
