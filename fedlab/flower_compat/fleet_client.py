"""A Flower node, in the process that answers its messages; uses names that are not public.

Flower's own SuperNode is two processes and a new third one for every message, which imports PyTorch
and loads the data each time, and it looks for messages every three seconds. This is the same Fleet
API in one process: Flower's client, signatures and objects, without the detour.
"""

from __future__ import annotations

import time
from typing import Any

import httpx
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.app import Message
from flwr.app.message import remove_content_from_message
from flwr.common.constant import HEARTBEAT_MIN_INTERVAL
from flwr.common.serde import message_to_proto
from flwr.proto.fleet_pb2 import (
    ActivateNodeRequest,
    DeactivateNodeRequest,
    PullMessagesRequest,
    PushMessagesRequest,
    RegisterNodeFleetRequest,
)
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest
from flwr.proto.node_pb2 import Node
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
    get_object_tree,
    no_object_id_recompute,
)
from flwr.supercore.inflatable.inflatable_protobuf_utils import (
    make_confirm_message_received_fn_protobuf,
    make_pull_object_fn_protobuf,
    make_push_object_fn_protobuf,
)
from flwr.supercore.inflatable.inflatable_utils import (
    ObjectPullError,
    ObjectPushError,
    pull_and_inflate_object_from_tree,
    push_objects,
)
from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

__all__ = ["HEARTBEAT_SECONDS", "FleetLink", "ObjectPullError", "ObjectPushError"]

HEARTBEAT_SECONDS = float(HEARTBEAT_MIN_INTERVAL)
"""A SuperLink takes a node for lost that has been silent for twice as long."""


class _FleetClient(FleetHttpClient):
    """Flower's client; answers of another protocol become connection errors."""

    def _unary_unary(self, **call: Any) -> Any:
        try:
            return super()._unary_unary(**call)
        except ValueError as error:  # from a web server, say, that answers everything
            raise httpx.DecodingError(str(error)) from error


class FleetLink:
    """A node's connection to a SuperLink.

    All methods raise `httpx.HTTPError` where the SuperLink cannot be reached or refuses.

    Args:
        address: Host and port of the SuperLink.
        key: The node's private key, by which the SuperLink knows it.
        authority: Certificate authority of the SuperLink as PEM; None speaks without TLS.
    """

    def __init__(
        self, address: str, key: ec.EllipticCurvePrivateKey, authority: bytes | None
    ) -> None:
        signing = NodeAuthHttpInterceptor(key, key.public_key())
        self._public = signing._public_key_bytes
        self._client = _FleetClient.from_server_address(
            address,
            authority is None,
            authority,
            [RuntimeVersionHttpInterceptor("SuperNode"), signing],
        )
        self.node_id = 0

    def register(self) -> None:
        """Registers the key, where the SuperLink accepts registrations."""
        self._client.RegisterNode(RegisterNodeFleetRequest(public_key=self._public))

    def activate(self) -> int:
        """Activates the node; returns its id."""
        request = ActivateNodeRequest(public_key=self._public, heartbeat_interval=HEARTBEAT_SECONDS)
        self.node_id = self._client.ActivateNode(request).node_id
        return self.node_id

    def deactivate(self, node_id: int | None = None) -> None:
        """Deactivates the node at once instead of by a timeout."""
        self._client.DeactivateNode(DeactivateNodeRequest(node_id=node_id or self.node_id))

    def heartbeat(self) -> None:
        """Sends a heartbeat."""
        self._client.SendNodeHeartbeat(
            SendNodeHeartbeatRequest(node=self._node, heartbeat_interval=HEARTBEAT_SECONDS)
        )

    def receive(self) -> Message | None:
        """The next complete message, or None.

        Raises:
            ObjectPullError: If parts of it are gone.
        """
        response = self._client.PullMessages(PullMessagesRequest(node=self._node))
        if not response.messages_list:
            return None
        run_id = response.messages_list[0].metadata.run_id
        tree = response.message_object_trees[0]
        message: Message = pull_and_inflate_object_from_tree(
            tree,
            make_pull_object_fn_protobuf(self._client.PullObject, self._node, run_id),
            make_confirm_message_received_fn_protobuf(
                self._client.ConfirmMessageReceived, self._node, run_id
            ),
            return_type=Message,
        )
        message.metadata.__dict__["_message_id"] = tree.object_id
        return message

    def send(self, reply: Message, seconds: float) -> None:
        """Sends a reply with all its objects.

        Args:
            reply: The reply to a message that was received.
            seconds: How long answering has taken.

        Raises:
            ObjectPushError: If the SuperLink did not take all of it.
        """
        reply.metadata.__dict__["_message_id"] = reply.object_id
        with no_object_id_recompute():
            request = PushMessagesRequest(
                node=self._node,
                messages_list=[message_to_proto(remove_content_from_message(reply))],
                message_object_trees=[get_object_tree(reply)],
                clientapp_runtime_list=[seconds],
            )
            response = self._client.PushMessages(request)
            push_objects(
                get_all_nested_objects(reply),
                make_push_object_fn_protobuf(
                    self._client.PushObject,
                    self._node,
                    reply.metadata.run_id,
                    response.session_id,
                ),
                object_ids_to_push=set(response.objects_to_push),
            )

    def close(self) -> None:
        """Closes the connection."""
        self._client.close()

    @property
    def _node(self) -> Node:
        return Node(node_id=self.node_id)


def refusal(error: httpx.HTTPStatusError) -> dict[str, Any]:
    """The JSON body of a SuperLink's refusal; empty if it is no JSON object."""
    try:
        answer = error.response.json()
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


def clock_difference(error: httpx.HTTPStatusError) -> float | None:
    """Seconds by which this machine's clock is ahead of the SuperLink's, from its answer's date."""
    from email.utils import parsedate_to_datetime

    try:
        return time.time() - parsedate_to_datetime(error.response.headers["date"]).timestamp()
    except (KeyError, ValueError):
        return None
