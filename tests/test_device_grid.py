"""What a server does with devices that are many, wrong or old, by a grid without a network."""

from __future__ import annotations

import gc
import io
import weakref
from typing import Any, cast

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid

from fedlab.deploy.handshake import FAREWELL, INVITE, SEAT, DeviceInfo, Farewell, Invitation
from fedlab.deploy.server import device_registry as roll_module
from fedlab.deploy.server.device_grid import DeviceGrid
from fedlab.deploy.server.device_registry import Assignment, DeviceRegistry
from fedlab.deploy.server.mailbox import Mailbox
from fedlab.federation.client_updates import client_of
from fedlab.federation.preaggregation import REQUEST
from fedlab.records import to_record, to_wire
from helpers.fake_grid import Answer, Network


def device(name: str, train: Answer = lambda message: None) -> Answer:
    """A device that accepts, and trains as it is asked."""

    def answer(message: Message) -> RecordDict | Message | None:
        if message.metadata.message_type == INVITE:
            return DeviceInfo(name, "d", 1, 1).to_content()
        return None if message.metadata.message_type == FAREWELL else train(message)

    return answer


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    monkeypatch.setattr(roll_module, "POLL_SECONDS", 0.0)
    return Network()


def roll_for(network: Network, clients: int, *seats: Assignment) -> DeviceRegistry:
    invitation = Invitation("run", "0", "", ("a", "b"), (1,))
    return DeviceRegistry(Mailbox(cast(Grid, network)), invitation, [None] * clients, seats)


def poll(roll: DeviceRegistry) -> None:
    roll.poll()  # invites
    roll.poll()  # reads the answers


# ---------------------------------------------------------------------- who takes part


def test_more_devices_than_clients_at_once_do_not_keep_a_run_from_beginning(
    network: Network,
) -> None:
    network.answers = {n: device(name) for n, name in enumerate(["c", "a", "b"], 1)}
    roll = roll_for(network, 2)
    poll(roll)
    assert roll.complete
    roll.assign()
    assert set(roll.seats) == {"a", "b"}
    roll.poll()
    (left_over,) = network.messages_of(FAREWELL).items()
    assert left_over[0] == 1
    said = Farewell.of(left_over[1].content)
    assert (said.finished, "all seats of this run are taken") == (False, said.reason)
    assert set(roll.connected()) == {"a", "b"}
    assert roll.complete


WHOLE = {"name": "old", "domain": "d", "train": 1, "test": 1, "refused": ""}


@pytest.mark.parametrize(
    "terms", [{"name": "old"}, {**WHOLE, "name": [1, 2]}, {**WHOLE, "train": -1}, {}]
)
def test_a_device_of_another_version_is_sent_away_and_the_others_go_on(
    terms: dict[str, Any], network: Network
) -> None:
    def old(message: Message) -> RecordDict | None:
        if message.metadata.message_type == INVITE:
            return RecordDict({"terms": ConfigRecord(terms)})
        return None

    network.answers = {1: old, 2: device("new")}
    roll = roll_for(network, 1)
    poll(roll)
    assert set(roll.connected()) == {"new"}
    roll.poll()
    said = Farewell.of(network.messages_of(FAREWELL)[1].content)
    assert "different versions of fedlab" in said.reason


# ---------------------------------------------------------------------- what they answer


def trained(message: Message, client: int | None = None, **metrics: float) -> RecordDict:
    """What a device answers to training: a tensor with its client's index."""
    seat = cast(ConfigRecord, message.content[SEAT])
    mine = int(cast(int, seat["client"])) if client is None else client
    content = RecordDict({"arrays": to_record({"w": torch.tensor([float(mine)])})})
    content = to_wire(content)
    content["metrics"] = MetricRecord(metrics or {"num-examples": 1.0})
    content["client"] = ConfigRecord({"id": mine, "task": cast(str, seat["task"])})
    return content


def grid_of(network: Network, *answers: Answer) -> DeviceGrid:
    """The grid of a run whose clients are these devices."""
    seats = [Assignment(client, f"{client}", "d", 1, 1) for client in range(len(answers))]
    network.answers = {n: device(f"{n}", train) for n, train in enumerate(answers)}
    roll = roll_for(network, len(answers), *seats)
    return DeviceGrid(roll.post, roll, lambda asked: asked, lambda: None)


def train(grid: DeviceGrid, timeout: float = 5, summed: bool = True) -> list[Message]:
    """What a round comes to, in the order of clients."""
    records: dict[str, Any] = {"arrays": to_record({"w": torch.zeros(1)})}
    if summed:
        records[REQUEST] = ConfigRecord({"weights": "examples"})
    content = RecordDict(records)
    asked = [Message(content, dst_node_id=n, message_type="train") for n in grid.get_node_ids()]
    replies = grid.send_and_receive(asked, timeout=timeout)
    return sorted(replies, key=lambda reply: reply.metadata.src_node_id)


def plain(message: Message) -> RecordDict:
    """Arrays that claim to be what they are not."""
    content = trained(message)
    lie = Array(dtype="float32", shape=(1,), stype="numpy.ndarray", data=b"not an array")
    content["arrays"] = ArrayRecord({"w": lie})
    return content


def inflated(message: Message) -> RecordDict:
    """Few bytes that become many."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{"/w": np.zeros(1 << 22, np.float32)})
    content = trained(message)
    packed = cast(ArrayRecord, content["arrays"])
    (array,) = packed.values()
    array.data = buffer.getvalue()
    return content


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda message: RecordDict(), "its reply lacks records"),
        (lambda message: trained(message, loss=1.0), "its reply lacks records"),
        (lambda message: trained(message, **{"num-examples": 2.0}), "it speaks of 2.0 samples"),
        (lambda message: trained(message, client=0), "its reply is that of client 0"),
        (plain, "damaged tensors"),
        (inflated, "bytes, more than were sent to it"),
    ],
)
@pytest.mark.parametrize("summed", [True, False])
def test_a_wrong_reply_costs_its_device_alone_the_round(
    wrong: Answer, says: str, summed: bool, network: Network
) -> None:
    good, bad = train(grid_of(network, trained, wrong), summed=summed)
    assert good.has_content()
    assert client_of(good) == 0
    assert bad.has_error()
    assert says in bad.error.reason
    assert "device '1'" in bad.error.reason


def test_what_a_silent_device_was_sent_does_not_stay_in_memory(network: Network) -> None:
    grid = grid_of(network, lambda message: None)
    (silent,) = train(grid, timeout=0.1)
    assert "has not answered within" in silent.error.reason
    sent = [weakref.ref(message) for message in network.sent]
    network.sent.clear()
    gc.collect()
    assert not any(message() for message in sent)


def test_a_slow_device_is_not_sent_the_messages_of_all_rounds(network: Network) -> None:
    grid = grid_of(network, lambda message: None)
    for _ in range(3):
        train(grid, timeout=0.1)
    first, *others = [m for m in network.sent if m.metadata.message_type == "train"]
    assert not others
    network.answer(first, trained(first))
    network.answers[0] = device("0", trained)
    (reply,) = train(grid)
    assert reply.has_content()


def test_a_round_s_updates_do_not_outlive_it(network: Network) -> None:
    grid = grid_of(network, trained)
    updates = [weakref.ref(reply) for reply in train(grid, summed=False)]
    gc.collect()
    assert [update() for update in updates] == [None]
