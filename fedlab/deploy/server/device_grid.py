"""A grid whose clients are real devices, in place of a simulation's `LocalGrid` and `RayGrid`."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from flwr.app import ConfigRecord, Message, MessageType, RecordDict

from fedlab.deploy.handshake import SEAT
from fedlab.deploy.readable import shown
from fedlab.deploy.reminder import Reminder
from fedlab.deploy.server.device_registry import Connection, DeviceRegistry
from fedlab.deploy.server.inspection import Expectation
from fedlab.deploy.server.mailbox import Mailbox, PendingMessage
from fedlab.deploy.server.waiting import for_replies
from fedlab.engine.execution.mode import ExecutionPlan
from fedlab.engine.grid import ClientGrid
from fedlab.engine.work_units import FIRST_NODE_ID, WorkUnit, client_task_of
from fedlab.engine.worker import Worker
from fedlab.federation.client_updates import reason
from fedlab.federation.preaggregation import PairwiseSum, Preaggregation
from fedlab.federation.record_layout import EXPECTED, Form, expected_of
from fedlab.flower_compat import NodeInfo, error_reply
from fedlab.flower_compat.run_grid import is_lost
from fedlab.records import array_records, arrays_of, to_wire
from fedlab.targets.base import Target
from fedlab.targets.classes import Classes

log = logging.getLogger("fedlab")

POLL_SECONDS = 0.05
"""Interval between checks for replies, in seconds."""

PATIENCE = 3600.0
"""Timeout of a round in seconds if the scenario sets no deadline."""

DOMAIN_TEST = "evaluate.domain"


@dataclass
class PendingRequest:
    """A message for a client, until it is answered.

    Attributes:
        message: The strategy's message.
        client: The client's index.
        unit: Its work unit.
        content: Its content in wire format, shared by all clients that get the same.
        expectation: The requirements on its reply.
        connection: The device's connection over which it was sent.
        parcel: The message under way; None once that is lost.
        reply: The reply.
    """

    message: Message
    client: int
    unit: WorkUnit
    content: RecordDict
    expectation: Expectation
    connection: Connection | None = None
    parcel: PendingMessage | None = None
    reply: Message | None = None


class DeviceGrid(ClientGrid):
    """Sends a round's messages to the clients' devices.

    A device that is not connected gets its message once it is; one that was restarted gets it
    again; one that is still processing an earlier message gets it after its reply. A round ends
    when all have answered; at its deadline; or when enough have answered and no connected device
    is still working.

    Args:
        post: Sends messages to devices.
        devices: The registry of devices and clients.
        enough: Number of messages -> number of replies that are needed.
        check: Called while waiting; raises if the SuperLink has ended.
        tester: Tests the global model on domains that no device has.
        most_examples: Training samples of a device -> largest ``num-examples`` of its replies.
        counts: Test samples of a device -> layout of its metric counts, by metric and name.
        target: What is tested.
        learnt: What devices train on, where that is another target.
    """

    def __init__(
        self,
        post: Mailbox,
        devices: DeviceRegistry,
        enough: Callable[[int], int],
        check: Callable[[], None],
        tester: Worker | None = None,
        most_examples: Callable[[int], int] = lambda train: train,
        counts: Callable[[int], Mapping[str, Form]] = lambda test: {},
        target: Target | None = None,
        learnt: Target | None = None,
    ) -> None:
        seats = sorted(devices.seats.values(), key=lambda seat: seat.client)
        super().__init__([seat.train for seat in seats], run=post.grid.run)
        self.post = post
        self.devices = devices
        self.enough = enough
        self.check = check
        self.tester = tester
        self.most_examples = most_examples
        self.counts = counts
        self.target = target or Classes()
        self.learnt = learnt or self.target

    def get_nodes(self) -> Iterator[NodeInfo]:
        """All clients, by the names of their devices."""
        return (
            NodeInfo(node_id=node, name=f"device '{self.devices.name(node - FIRST_NODE_ID)}'")
            for node in self.get_node_ids()
        )

    def turned_away(self) -> dict[str, str]:
        """Devices that were refused since the last call, with the reasons."""
        return self.devices.turned_away()

    def _choose(self, messages: Sequence[Message]) -> ExecutionPlan:
        return ExecutionPlan(1, "on their devices")

    def _execute(self, units: Sequence[WorkUnit], timeout: float | None) -> Iterator[Message]:
        errands = []
        contents: dict[int, RecordDict] = {}
        for unit in units:
            if unit.kind == DOMAIN_TEST:
                yield from self._test_here(unit)
                continue
            for message in unit.messages:
                shared = id(message.content)
                if shared not in contents:
                    contents[shared] = to_wire(message.content)
                    contents[shared].pop(EXPECTED, None)
                errands.append(self._errand(message, unit, contents[shared]))
        self._wait(errands, PATIENCE if timeout is None else timeout)
        for errand in errands:
            yield self._settled(errand)

    def _errand(self, message: Message, unit: WorkUnit, content: RecordDict) -> PendingRequest:
        client, about = client_task_of(message).client, message.metadata
        seat = self.devices.assignment_of(client)
        tests = about.message_type == MessageType.EVALUATE
        config: Any = message.content.get("config", {})
        own = seat.train if config.get("split") == "validation" else seat.test
        expectation = Expectation(
            client,
            about.message_id,
            expected_of(message.content),
            array_records(message.content),
            examples=own if tests else self.most_examples(seat.train),
            train=seat.train,
            domain=seat.domain if tests else None,
            counts=self.counts(own) if tests else {},
            target=self.target if tests else self.learnt,
        )
        return PendingRequest(message, client, unit, content, expectation)

    def _wait(self, errands: Sequence[PendingRequest], seconds: float) -> None:
        """Sends messages, repeatedly where needed, until a round may end."""
        end = time.monotonic() + seconds
        needed = self.enough(len(errands))
        reminder = Reminder()
        while True:
            self.devices.poll()
            here = self.devices.assigned()
            open_errands = [errand for errand in errands if errand.reply is None]
            working = [e for e in open_errands if self._sent(e, here.get(e.client))]
            answered = sum(
                errand.reply is not None and errand.reply.has_content() for errand in errands
            )
            if not open_errands or (not working and answered >= needed):
                break
            if time.monotonic() > end:
                break
            reminder.remind(partial(self._waited_for, errands, here, end))
            self.check()
            time.sleep(POLL_SECONDS)
        here = self.devices.assigned()
        for errand in errands:
            if errand.reply is None:
                self._give_up(errand, seconds, connected=errand.client in here)

    def _waited_for(
        self, errands: Sequence[PendingRequest], here: Mapping[int, Connection], end: float
    ) -> str:
        names = {seat.client: seat.device for seat in self.devices.seats.values()}
        silent = [(names[e.client], e.client in here) for e in errands if e.reply is None]
        return for_replies(silent, len(errands) - len(silent), end - time.monotonic())

    def _sent(self, errand: PendingRequest, connection: Connection | None) -> bool:
        """Sends a device its message once possible; False if it is not connected."""
        if connection is None:
            return False
        parcel = errand.parcel
        if parcel is not None and errand.connection is connection:
            if not parcel.lost:
                return True
            errand.parcel = None
            self.devices.mark_offline(connection)  # sent again if the SuperLink lists it
            return False
        if connection.busy:
            return True  # with an earlier round's message; otherwise messages would accumulate
        if errand.connection is not None:
            log.warning("device '%s' is back and begins again", self.devices.name(errand.client))
            if parcel is not None:
                self.post.ignore(parcel)
        task = errand.expectation.task
        seat = ConfigRecord({"client": errand.client, "clients": self.clients, "task": task})
        content = RecordDict({**errand.content, SEAT: seat})  # type: ignore[dict-item]
        about = errand.message.metadata
        errand.connection = connection
        errand.parcel = connection.task = self.post.send(
            connection.node,
            content,
            about.message_type,
            partial(self._answered, errand),
            about.group_id,
            errand.expectation.largest,
        )
        return True

    def _answered(self, errand: PendingRequest, reply: Message) -> None:
        """Checks a device's reply and stores it as that of its client."""
        name = self.devices.name(errand.client)
        if is_lost(reply):
            errand.parcel = None  # the device gets its message again when it is back
            if errand.connection is not None:
                self.devices.mark_offline(errand.connection)
            return
        try:
            if reply.has_error():
                raise ValueError(reason(reply))
            content = errand.expectation.admit(reply.content)
            errand.reply = Message(content, reply_to=errand.message)
        except Exception as error:  # no reply of a device may end the run
            wrong = shown(str(error) or type(error).__name__)
            errand.reply = error_reply(errand.message, f"device '{name}': {wrong}")

    def _give_up(self, errand: PendingRequest, seconds: float, connected: bool) -> None:
        name = self.devices.name(errand.client)
        if errand.parcel is not None:
            self.post.ignore(errand.parcel)
        why = f"has not answered within {seconds:g} seconds" if connected else "is not connected"
        errand.reply = error_reply(errand.message, f"device '{name}' {why}")

    def _settled(self, errand: PendingRequest) -> Message:
        """The reply; its update is added to the unit's sum, if there is one."""
        reply, unit = errand.reply, errand.unit
        assert reply is not None
        if unit.sums is None:
            return reply
        if reply.has_error():
            unit.lose()
            return reply
        into = Preaggregation.requested(errand.message.content)
        metrics = dict(reply.content["metrics"])  # type: ignore[arg-type]
        into.add([arrays_of(reply.content)], [metrics])
        sums = PairwiseSum()
        sums.add(unit.start, 1, into.total)
        unit.take(sums)
        return reply

    def _test_here(self, unit: WorkUnit) -> Iterator[Message]:
        """Answers tests of the global model on domains that no device has."""
        for message in unit.messages:
            if self.tester is None:
                yield error_reply(message, "the server has no data to test the global model on")
                continue
            task = client_task_of(message)
            answered = self.tester.answer(message.content, [task], [None])
            yield answered.answers[0].reply

    def _hold(self, record: RecordDict) -> tuple[RecordDict, int]:
        return record, 0

    def _fetch(self, state: RecordDict) -> RecordDict:
        return state
