"""The contract with the names of Flower by which devices and their server speak."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx
import pytest
import torch
import uvicorn
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid

from fedlab.deploy.security.certificates import make_key, public_pem
from fedlab.flower_compat import fleet_client
from fedlab.flower_compat.fleet_client import FleetLink, clock_difference, refusal
from fedlab.flower_compat.run_grid import connect, is_lost
from fedlab.flower_compat.superlink_client import Link
from fedlab.records import from_wire, to_record, to_wire
from helpers.processes import wait_until


class Served(NamedTuple):
    """A SuperLink in this process, in the clear, that asks for keys."""

    link: Link
    grid: Grid
    address: str


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    link = Link(authenticated=True)
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(link.app, log_config=None, access_log=False, ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    assert wait_until(lambda: server.started, 60)
    address = f"127.0.0.1:{listening.getsockname()[1]}"
    yield Served(link, connect(address, link.open_run(), None), address)
    server.should_exit = True
    thread.join(10)


class Node(NamedTuple):
    link: FleetLink
    key: ec.EllipticCurvePrivateKey


@pytest.fixture
def node(served: Served) -> Iterator[Node]:
    """A node whose key is known by the name of 'roof'."""
    key = make_key()
    served.link.admit({"roof": public_pem(key.public_key())})
    link = FleetLink(served.address, key, None)
    link.activate()
    yield Node(link, key)
    link.close()


def ask(served: Served, node: int) -> str:
    """Sends a tensor to a node; gives Flower's id of the message."""
    tensors = to_record({"w": torch.arange(3.0), "n": torch.tensor(4)})
    content = RecordDict({"arrays": tensors, "config": ConfigRecord({"server-round": 1})})
    message = Message(to_wire(content), dst_node_id=node, message_type="train", group_id="1")
    (number,) = served.grid.push_messages([message])
    return str(number)


def test_nodes_are_known_by_name_and_answer_messages(served: Served, node: Node) -> None:
    (seen,) = served.grid.get_nodes()
    assert (seen.name, seen.node_id, seen.status) == ("roof", node.link.node_id, "online")
    assert seen.last_activated_at
    number = ask(served, node.link.node_id)
    message = node.link.receive()
    assert message is not None
    assert message.metadata.message_type == "train"
    assert message.content["config"]["server-round"] == 1  # type: ignore[index]
    arrays = from_wire(message.content)["arrays"]
    node.link.send(Message(to_wire(RecordDict({"arrays": arrays})), reply_to=message), 1)
    (reply,) = served.grid.pull_messages([number])
    assert reply.metadata.reply_to_message_id == number
    assert from_wire(reply.content)["arrays"]["w"].numpy().tolist() == [0, 1, 2]  # type: ignore[index]
    assert not is_lost(reply)
    assert node.link.receive() is None


def test_a_node_that_is_back_is_distinguished_from_its_earlier_self(
    served: Served, node: Node
) -> None:
    (before,) = served.grid.get_nodes()
    again = FleetLink(served.address, node.key, None)
    with pytest.raises(httpx.HTTPStatusError) as refused:
        again.activate()  # its place is taken
    assert refusal(refused.value)["code"] == 2004
    again.deactivate(node.link.node_id)
    assert again.activate() == node.link.node_id
    (after,) = served.grid.get_nodes()
    assert after.node_id == before.node_id
    assert after.last_activated_at != before.last_activated_at


def test_what_was_sent_to_a_node_that_has_left_is_lost(served: Served, node: Node) -> None:
    number = ask(served, node.link.node_id)
    node.link.deactivate()
    time.sleep(0.01)
    (reply,) = served.grid.pull_messages([number])
    assert is_lost(reply)
    assert reply.metadata.reply_to_message_id == number
    node.link.heartbeat()  # a heartbeat brings a node back that was taken for lost
    assert [seen.node_id for seen in served.grid.get_nodes()] == [node.link.node_id]


def test_a_reply_that_is_still_being_sent_delays_no_other(
    served: Served, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = [ask(served, node.link.node_id), ask(served, node.link.node_id)]
    received = [node.link.receive(), node.link.receive()]
    trainer, whole = (
        Message(to_wire(RecordDict({"arrays": to_record({"w": torch.arange(n)})})), reply_to=m)
        for n, m in enumerate(received, 3)
        if m
    )
    with monkeypatch.context() as dies:
        dies.setattr(fleet_client, "push_objects", lambda *_, **__: None)
        node.link.send(trainer, 1)
    node.link.send(whole, 1)
    asked: list[str] = []
    runtime = served.grid._runtime_client  # type: ignore[attr-defined]
    pull = runtime.PullObject

    def noted(request: Any, *words: Any, **options: Any) -> Any:
        asked.append(request.object_id)
        return pull(request, *words, **options)

    with monkeypatch.context() as notes:
        notes.setattr(runtime, "PullObject", noted)
        (reply,) = served.grid.pull_messages(numbers)
    assert len(asked) == len(set(asked)), "a part that is not there was asked for again"
    assert from_wire(reply.content)["arrays"]["w"].numpy().tolist() == [0, 1, 2, 3]  # type: ignore[index]
    assert not list(served.grid.pull_messages(numbers[:1]))


def test_a_key_that_is_taken_back_shuts_its_node_out(served: Served, node: Node) -> None:
    served.link.admit({})
    with pytest.raises(httpx.HTTPStatusError) as refused:
        node.link.receive()
    assert refused.value.response.status_code == httpx.codes.UNAUTHORIZED
    assert abs(clock_difference(refused.value) or 99) < 5
    with pytest.raises(httpx.HTTPStatusError):
        node.link.activate()
    assert not list(served.grid.get_nodes())


def test_a_revoked_key_that_is_back_does_not_block_other_nodes(served: Served, node: Node) -> None:
    mine, other = public_pem(node.key.public_key()), public_pem(make_key().public_key())
    served.link.admit({"other": other})
    assert served.link.admit({"roof": mine, "other": other}) == ["roof"]
    with pytest.raises(httpx.HTTPStatusError):
        node.link.activate()
    yard = make_key()
    assert served.link.admit({"roof": mine, "yard": public_pem(yard.public_key())}) == ["roof"]
    link = FleetLink(served.address, yard, None)
    link.activate()
    assert [seen.name for seen in served.grid.get_nodes()] == ["yard"]
    link.deactivate()
    link.close()


def test_no_client_registers_a_key_by_itself(served: Served) -> None:
    stranger = FleetLink(served.address, make_key(), None)
    for call in (stranger.register, stranger.activate):
        with pytest.raises(httpx.HTTPStatusError):
            call()
    answer = httpx.post(f"http://{served.address}/v1/control/register-node", content=b"")
    assert answer.status_code == httpx.codes.UNAUTHORIZED


def test_a_run_stays_as_long_as_it_is_kept(served: Served, node: Node) -> None:
    ticket = served.link.open_run()
    served.link.keep_run(ticket)
    assert served.link._state.get_task_by_token(ticket.token).task_id == ticket.task_id
