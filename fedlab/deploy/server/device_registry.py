"""The registry of a run's devices: which are connected, and which client each of them is."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from flwr.app import Message

from fedlab.deploy.handshake import FAREWELL, INVITE, DeviceInfo, Farewell, Invitation
from fedlab.deploy.readable import LONGEST_NAME, fault_of_name, shown
from fedlab.deploy.server.mailbox import Mailbox, PendingMessage
from fedlab.errors import InputError
from fedlab.federation.client_updates import reason
from fedlab.flower_compat import NodeInfo

log = logging.getLogger("fedlab")

MOST_SAMPLES = 10**9
"""Largest number of training or test samples that a device may report."""

MANY = 0.5
"""Share of all training samples above which a device's size is logged as a warning."""

POLL_SECONDS = 0.5
"""Interval between queries of the SuperLink's nodes, in seconds."""


TAKEN = "all seats of this run are taken"


@dataclass(frozen=True)
class Assignment:
    """The device that is assigned to a client.

    Attributes:
        client: The client's index.
        device: The device's name.
        domain: Its domain.
        train: Number of its training samples.
        test: Number of its test samples.
    """

    client: int
    device: str
    domain: str
    train: int
    test: int


@dataclass
class Connection:
    """A connected process of a device.

    Attributes:
        node: Flower's node id.
        since: Time of activation, which distinguishes it from earlier processes of the device.
        presence: Its reply to the invitation; None until it has read its data.
        has_answered: Whether it has replied to the invitation, if only to refuse it.
        task: The last message of the method that was sent to it.
    """

    node: int
    since: str
    presence: DeviceInfo | None = None
    has_answered: bool = False
    task: PendingMessage | None = None

    @property
    def busy(self) -> bool:
        """Whether it is still processing its last message."""
        return self.task is not None and not (self.task.answered or self.task.lost)


class DeviceRegistry:
    """The devices, by name.

    Args:
        post: Sends messages to devices.
        invitation: The invitation to the run.
        homes: Every client's domain in a simulation; None for any.
        seats: Existing assignments of devices to clients, if a run is resumed.
    """

    def __init__(
        self,
        post: Mailbox,
        invitation: Invitation,
        homes: Sequence[str | None],
        seats: Sequence[Assignment] = (),
    ) -> None:
        self.post = post
        self.invitation = invitation
        self.homes = homes
        self.seats = {seat.device: seat for seat in seats}
        self._turned_away: dict[str, str] = {}
        self._refused: set[str] = set()
        self._connections: dict[int, Connection] = {}
        self._online: set[int] = set()
        self._polled = -POLL_SECONDS

    @property
    def complete(self) -> bool:
        """Whether a connected device exists for every client."""
        return len(self.connected()) >= len(self.homes)

    def connected(self) -> dict[str, Connection]:
        """The devices that have accepted and are connected, by name."""
        found = {}
        for node, connection in self._connections.items():
            presence = connection.presence
            if node in self._online and presence is not None and not presence.refused:
                found[presence.name] = connection
        return found

    def assigned(self) -> dict[int, Connection]:
        """The devices that are assigned and connected, by client."""
        connected = self.connected()
        return {
            seat.client: connected[name] for name, seat in self.seats.items() if name in connected
        }

    def assignment_of(self, client: int) -> Assignment:
        """A client's assignment."""
        return next(seat for seat in self.seats.values() if seat.client == client)

    def name(self, client: int) -> str:
        """The name of a client's device."""
        return self.assignment_of(client).device

    def turned_away(self) -> dict[str, str]:
        """Devices that were refused since the last call, by name, with the reasons."""
        named, self._turned_away = self._turned_away, {}
        return named

    def refused(self) -> set[str]:
        """Names of the devices that were refused so far, since the server was started."""
        return set(self._refused)

    def reading(self) -> int:
        """Number of connected devices that have not answered the invitation yet."""
        connections = (self._connections.get(node) for node in self._online)
        return sum(c is not None and not c.has_answered for c in connections)

    def mark_offline(self, connection: Connection) -> None:
        """Marks a device as disconnected until the SuperLink lists it again."""
        self._online.discard(connection.node)

    def poll(self) -> None:
        """Processes replies and, every `POLL_SECONDS`, invites new nodes."""
        self.post.collect()
        if time.monotonic() - self._polled < POLL_SECONDS:
            return
        self._polled = time.monotonic()
        nodes = {node.node_id: node for node in self.post.grid.get_nodes()}
        self._online = set(nodes)
        for node in nodes.values():
            known = self._connections.get(node.node_id)
            if known is None or known.since != node.last_activated_at:
                self._invite(node)

    def _invite(self, node: NodeInfo) -> None:
        connection = Connection(node.node_id, node.last_activated_at)

        def answered(reply: Message) -> None:
            if self._connections.get(node.node_id) is not connection:
                return  # the device has been restarted meanwhile
            connection.has_answered = True
            known = node.name or f"node {node.node_id}"
            try:
                if reply.has_error():
                    self._note(known, shown(reason(reply)))
                    return
                presence = DeviceInfo.of(reply.content)
                self._accept(connection, node.name or presence.name, presence, known)
            except InputError as error:
                self._dismiss(connection, known, str(error))
            except Exception as error:  # no reply of a device may end the run
                self._dismiss(connection, known, f"its answer cannot be read: {shown(repr(error))}")

        self._connections[node.node_id] = connection
        self.post.send(node.node_id, self.invitation.to_content(), INVITE, answered)

    def _accept(self, connection: Connection, name: str, presence: DeviceInfo, known: str) -> None:
        """Accepts a device, or dismisses it with a reason."""
        presence = DeviceInfo(**{**asdict(presence), "name": name})
        seat = self.seats.get(name)
        if wrong := _fault(presence):
            self._dismiss(connection, known, wrong)
        elif presence.refused:
            self._note(name, f"cannot take part: {shown(presence.refused)}")
        elif name in self.connected():
            self._dismiss(connection, name, f"there is another device with the name '{name}'")
        elif self.seats and name not in self.seats:
            self._dismiss(connection, name, TAKEN)
        elif seat is not None and _has(seat) != _has(presence):
            self._dismiss(
                connection,
                name,
                f"the run was begun with {_data_of(seat)}, and the device now has "
                f"{_data_of(presence)}; "
                "give it the data that it had",
            )
        else:
            connection.presence = presence
            missing = len(self.homes) - len(self.connected())
            log.info(
                "device '%s' is here: %s, %d training and %d test samples%s",
                name,
                presence.domain,
                presence.train,
                presence.test,
                f"; waiting for {missing} more" if missing > 0 else "",
            )

    def _note(self, name: str, why: str) -> None:
        """Logs a refused device and keeps the reason for `turned_away`."""
        log.warning("device '%s' %s", shown(name, 2 * LONGEST_NAME), why)
        self._refused.add(name)
        self._turned_away[f"device '{shown(name, 2 * LONGEST_NAME)}'"] = why

    def _dismiss(self, connection: Connection, name: str, why: str) -> None:
        connection.presence = None
        self._note(name, f"is sent away: {why}")
        content = Farewell(finished=False, reason=why).to_content()
        self.post.send(connection.node, content, FAREWELL, lambda reply: None)

    def assign(self) -> None:
        """Assigns a device to every client, independently of the order of arrival.

        A device gets the first client that has its domain in a simulation; devices of other
        domains get the remaining clients; both in the order of their names. Surplus devices are
        dismissed.
        """
        devices = {
            name: connection.presence
            for name, connection in self.connected().items()
            if connection.presence
        }
        left = list(range(len(self.homes)))
        seats: dict[str, Assignment] = {}
        for at_home in (True, False):
            for name, its in sorted(devices.items()):
                fitting = [c for c in left if not at_home or self.homes[c] == its.domain]
                if name not in seats and fitting:
                    left.remove(fitting[0])
                    seats[name] = Assignment(fitting[0], name, its.domain, its.train, its.test)
        self.seats = seats
        for name, connection in self.connected().items():
            if name not in seats:
                self._dismiss(connection, name, TAKEN)
        everything = sum(seat.train for seat in seats.values())
        for seat in seats.values():
            if len(seats) > 2 and seat.train > MANY * everything:
                log.warning(
                    "device '%s' says that it has %d of all %d training samples, and counts as "
                    "much where clients count by examples",
                    seat.device,
                    seat.train,
                    everything,
                )

    def shut_down(self, seconds: float) -> None:
        """Notifies all devices of the run's end, and waits up to `seconds` for their replies."""
        content = Farewell(finished=True).to_content()
        replies: list[Message] = []
        connections = list(self.connected().values())
        for connection in connections:
            self.post.send(connection.node, content, FAREWELL, replies.append)
        end = time.monotonic() + seconds
        while len(replies) < len(connections) and time.monotonic() < end:
            self.post.collect()
            time.sleep(0.05)


def _fault(presence: DeviceInfo) -> str:
    """Why a device's reply to the invitation is invalid; empty if it is valid."""
    for what, name in (("name", presence.name), ("domain", presence.domain)):
        if wrong := fault_of_name(what, name):
            return wrong
    if max(presence.train, presence.test) > MOST_SAMPLES:
        return f"it says that it has {max(presence.train, presence.test)} samples"
    return ""


def _has(who: Assignment | DeviceInfo) -> tuple[str, int, int]:
    return who.domain, who.train, who.test


def _data_of(who: Assignment | DeviceInfo) -> str:
    return f"{who.train} training and {who.test} test samples of '{who.domain}'"
