"""Messages to clients; those that get the same share one content object."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from flwr.app import Message, RecordDict

from fedlab.flower_compat import message_to
from fedlab.records import Tensors, to_record


def messages_to(
    nodes: Iterable[int],
    content: RecordDict,
    message_type: str,
    server_round: int,
    own: Mapping[int, Mapping[str, Tensors]] = MappingProxyType({}),
) -> list[Message]:
    """One message of a round for each node.

    Args:
        nodes: Their ids.
        content: What they all get.
        message_type: What they are to do.
        server_round: The round.
        own: What some of them get beside it, by node and record name.
    """
    first = Message(content, dst_node_id=0, message_type=message_type, group_id=f"{server_round}")
    return [message_to(node, first, _with(content, own.get(node, {}))) for node in nodes]


def _with(content: RecordDict, own: Mapping[str, Tensors]) -> RecordDict:
    """The content with further tensors; the same object if there are none."""
    if not own:
        return content
    return RecordDict({**content, **{name: to_record(tensors) for name, tensors in own.items()}})
