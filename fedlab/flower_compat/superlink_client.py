"""Flower's SuperLink; uses names that are not public."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from flwr.common.constant import (
    HEARTBEAT_DEFAULT_INTERVAL,
    NOOP_ACCOUNT_NAME,
    NOOP_FLWR_AID,
    SYSTEM_TIME_TOLERANCE,
    TIMESTAMP_HEADER,
    TIMESTAMP_TOLERANCE,
)
from flwr.supercore.constant import (
    FLEET_HTTP_PUBLIC_KEY_HEADER,
    FLEET_HTTP_SIGNATURE_HEADER,
    NOOP_FEDERATION_ID,
    TASK_TOKEN_HEADER,
    NodeStatus,
    TaskType,
)
from flwr.supercore.fab import Fab

__all__ = ["Link", "Ticket"]

TOKEN, KEY, SIGNATURE, TIMESTAMP = (
    name.encode()
    for name in (
        TASK_TOKEN_HEADER,
        FLEET_HTTP_PUBLIC_KEY_HEADER,
        FLEET_HTTP_SIGNATURE_HEADER,
        TIMESTAMP_HEADER,
    )
)
"""Headers by which the server, and devices, are known."""

FRESH_SECONDS = TIMESTAMP_TOLERANCE + 2 * SYSTEM_TIME_TOLERANCE
"""For how long a signed request counts."""


class Ticket(NamedTuple):
    """The ids and the token with which a process acts as the ServerApp of a run."""

    run_id: int
    task_id: int
    token: str


class Link:
    """A SuperLink in this process, for one run.

    Its Control API, by which any client could register nodes and start runs, refuses all requests:
    the run is made here, and nodes are registered by `admit`. Its Runtime API serves only requests
    with the run's ticket, of which this process has the only one.

    Args:
        authenticated: Whether only nodes with registered keys may take part.
    """

    def __init__(self, authenticated: bool) -> None:
        # These take seconds to import, and only the SuperLink's own process needs them.
        from flwr.common.constant import ISOLATION_MODE_PROCESS, TRANSPORT_TYPE_GRPC_RERE
        from flwr.supercore.constant import FLWR_IN_MEMORY_DB_NAME
        from flwr.superlink.auth_plugin import NoOpControlAuthnPlugin
        from flwr.superlink.cli.flower_superlink import SuperLinkLifespan
        from flwr.superlink.config_loader import SuperLinkLifespanConfig
        from flwr.superlink.main import create_app

        class RefuseEveryone(NoOpControlAuthnPlugin):
            def validate_tokens_in_metadata(
                self, metadata: Sequence[tuple[str, str | bytes]]
            ) -> tuple[bool, None]:
                return False, None

        config = SuperLinkLifespanConfig(
            control_address="",
            health_server_address=None,
            host="",
            port=0,
            insecure=not authenticated,
            certificates=None,  # the server that listens has them
            superexec_auth_secret=None,
            authn_plugin=RefuseEveryone(),
            event_log_plugin=None,
            fleet_event_log_plugin=None,
            enable_event_log=False,
            artifact_provider=None,
            enable_supernode_auth=authenticated,
            fleet_api_type=TRANSPORT_TYPE_GRPC_RERE,
            fleet_api_address=None,
            simulation=False,
            ssl_ca_certfile=None,
            ssl_certfile=None,
            ssl_keyfile=None,
            database=FLWR_IN_MEMORY_DB_NAME,
            isolation=ISOLATION_MODE_PROCESS,
            runtime_dependency_install=False,
        )
        self.app = create_app(config, SuperLinkLifespan)
        self._state = self.app.state.linkstate_factory.state()
        self._admitted: frozenset[bytes] = frozenset()

    def open_run(self) -> Ticket:
        """Creates a run in the running state, and claims its one task.

        Raises:
            RuntimeError: If Flower refuses.
        """
        state = self._state
        digest = state.store_fab(Fab("", b"fedlab ships no code to devices", {}))
        run_id = state.create_run(
            "fedlab/fedlab",
            "0",
            digest,
            {},
            NOOP_FEDERATION_ID,
            None,
            NOOP_FLWR_AID,
            TaskType.SERVER_APP,
        )
        tasks = [task for task in state.get_tasks() if task.run_id == run_id]
        token = state.claim_task(tasks[0].task_id) if tasks else None
        if token is None or not state.activate_task(tasks[0].task_id):
            raise RuntimeError("the SuperLink has not started the run")
        return Ticket(run_id, tasks[0].task_id, token)

    def keep_run(self, ticket: Ticket) -> None:
        """Keeps the run from expiring; to be called every few seconds."""
        self._state.acknowledge_task_heartbeat(ticket.task_id)

    def public_keys(self) -> frozenset[bytes]:
        """Public keys of the admitted nodes, in the form of requests."""
        return self._admitted

    def admit(self, keys: Mapping[str, bytes]) -> list[str]:
        """Admits these nodes, and no others.

        Args:
            keys: Public key of every node as PEM, by the node's name.

        Returns:
            Names of those that stay outside: Flower never takes a key again that was shut out.
        """
        self._admitted = frozenset(keys.values())
        nodes = {node.public_key: node for node in self._state.get_node_info()}
        for key, node in nodes.items():
            if key not in keys.values() and node.status != NodeStatus.UNREGISTERED:
                self._state.delete_node(NOOP_FLWR_AID, node.node_id)
        outside = []
        for name, key in keys.items():
            if key not in nodes:
                self._state.create_node(
                    NOOP_FLWR_AID, NOOP_ACCOUNT_NAME, key, HEARTBEAT_DEFAULT_INTERVAL, name=name
                )
            elif nodes[key].status == NodeStatus.UNREGISTERED:
                outside.append(name)
        return outside
