"""What a device and its server check before anything is trained: data, states, seats."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from flwr.app import ConfigRecord, Message, RecordDict
from PIL import Image

import fedlab
from fedlab import flower_compat
from fedlab.client_app import CohortApp
from fedlab.deploy.device import folder as folder_module
from fedlab.deploy.device import join
from fedlab.deploy.device.local_data import OwnData, load_own_data
from fedlab.deploy.device.participant import Participant
from fedlab.deploy.device.state_file import StateFile
from fedlab.deploy.handshake import INVITE, DeviceInfo, Invitation
from fedlab.deploy.security.keys import Credentials
from fedlab.deploy.server.device_registry import Connection, DeviceRegistry
from fedlab.deploy.server.serve import as_on_devices
from fedlab.deploy.server.serve_setup import setup_of
from fedlab.engine import worker
from fedlab.engine.execution.runtime import Runtime
from fedlab.engine.local_grid import LocalGrid
from fedlab.engine.ray.actor import Actor
from fedlab.engine.start import make_runtime
from fedlab.engine.work_units import FIRST_NODE_ID, client_task_of
from fedlab.errors import InputError
from fedlab.preparation import divide
from fedlab.records import PACKED, from_wire, to_record, to_wire
from fedlab.scenario_file import load_scenario, to_yaml
from helpers.four_domains import DOMAINS, write_four

DIGITS = tuple("0123")

# ---------------------------------------------------------------------- a device's data


@pytest.fixture
def four(tmp_path: Path) -> Path:
    return write_four(tmp_path)


def own(four: Path, data: Path, domain: str | None = None) -> OwnData:
    """A device's data for the scenario."""
    values = load_scenario(four).model_dump(mode="json")
    return load_own_data(values, data, domain, DIGITS, (3, 8, 8))


def test_devices_have_what_the_clients_of_a_simulation_have(four: Path) -> None:
    scenario = load_scenario(four)
    pooled, partition = divide(scenario)
    for client, domain in enumerate(DOMAINS):
        device = own(four, four.parent / f"{domain}.npz")
        assert device.domain == domain
        mine, theirs = device.partition(client, 4)[client], partition[client]
        for split in ("train", "validation", "test"):
            name = "test" if split == "test" else "train"
            rows, pool = getattr(theirs, split), getattr(pooled, name)
            held = getattr(device.data, name)
            assert len(rows)
            assert (held.inputs[getattr(mine, split)] == pool.inputs[rows]).all()
        assert (mine.labels == theirs.labels).all()
        assert all(len(device.partition(client, 4)[c].train) == 0 for c in range(4) if c != client)


def test_classes_are_matched_by_name(four: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    for name, count in (("3", 6), ("1", 5)):
        (photos / name).mkdir(parents=True)
        for index in range(count):
            Image.new("L", (10, 12), 20 * index).save(photos / name / f"{index}.png")
    device = own(four, photos, "yard")
    assert device.domain == "yard"
    assert device.data.class_names == DIGITS
    assert device.data.input_shape == (3, 8, 8)
    labels = np.concatenate([device.data.train.labels, device.data.test.labels])
    assert np.bincount(labels, minlength=4).tolist() == [0, 5, 0, 6]


def change(path: Path, **arrays: np.ndarray) -> Path:
    with np.load(path) as saved:
        np.savez(path.with_name("changed.npz"), **{**saved, **arrays})
    return path.with_name("changed.npz")


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        (
            {"y_train": np.full(40, 5)},
            "has the class '5', which the scenario lacks; its classes are",
        ),
        ({"x_train": np.zeros((40, 3)), "x_test": np.zeros((20, 3))}, r"shape \(3,\) and the scen"),
        ({"x_train": np.zeros((40, 5, 8, 8), np.uint8)}, r"--data.*with 1 or 3 channels"),
        ({"y_test": np.zeros(3, int)}, "--data.*20 samples in 'x_test' but 3 labels"),
    ],
)
def test_data_that_do_not_fit_are_refused(
    arrays: dict[str, np.ndarray], says: str, four: Path
) -> None:
    with pytest.raises(InputError, match=says):
        own(four, change(four.parent / "north.npz", **arrays))


@pytest.mark.parametrize("path", ["gone.npz", "four.yaml", "."])
def test_a_path_that_is_no_data_is_refused(path: str, four: Path) -> None:
    with pytest.raises(InputError, match=r"--data: .* a .npz or .csv file, a folder with a folder"):
        own(four, four.parent / path)


def test_tables_are_read_as_the_scenario_reads_them(tmp_path: Path) -> None:
    rows = "\n".join(f"{i % 2},{i},{2 * i}" for i in range(20))
    (tmp_path / "clinic.csv").write_text(f"ill,age,weight\n{rows}\n")
    sources = [{"name": "csv", "files": {"other": "other.csv"}, "label": "ill"}]
    values = {
        "name": "t",
        "data": {"sources": sources},
        "partition": {"clients": 1},
        "model": "linear",
    }
    device = load_own_data(values, tmp_path / "clinic.csv", None, ("0", "1"), (2,))
    assert device.domain == "clinic"
    with pytest.raises(InputError, match="give it a table with 3 features"):
        load_own_data(values, tmp_path / "clinic.csv", None, ("0", "1"), (3,))


# ---------------------------------------------------------------------- what a client keeps


def state(value: float) -> RecordDict:
    return RecordDict({"model": to_record({"bn": torch.tensor([value])}), "empty": to_record({})})


def kept(record: RecordDict) -> float:
    return float(record["model"]["bn"].numpy()[0])  # type: ignore[index]


def test_a_client_begins_the_same_message_from_the_same_state(tmp_path: Path) -> None:
    file = StateFile(tmp_path / "new" / "client.safetensors")
    assert len(file.start_of("round 1 train")) == 0
    file.keep("round 1 train", RecordDict(), state(1))
    file.keep("round 2 train", state(1), state(2))
    again = StateFile(file.path)
    assert kept(again.start_of("round 2 train")) == 1
    assert kept(again.start_of("round 3 train")) == 2
    assert "empty" in again.start_of("round 3 train")


def test_a_truncated_state_is_refused_with_the_way_out(tmp_path: Path) -> None:
    file = StateFile(tmp_path / "client.safetensors")
    file.keep("round 1 train", RecordDict(), state(1))
    for size in (0, 20, file.path.stat().st_size - 3):
        with file.path.open("r+b") as opened:
            opened.truncate(size)
        with pytest.raises(
            InputError, match=r"cannot be read .*put a copy of it back, or delete it"
        ):
            StateFile(file.path)
        file.keep("round 1 train", RecordDict(), state(1))


def test_a_state_that_cannot_be_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = StateFile(tmp_path / "client.safetensors")
    file.keep("round 1 train", RecordDict(), state(1))
    (tmp_path / "client.safetensors.unfinished").mkdir()  # as good as a full disk
    with pytest.raises(OSError, match="directory"):
        file.keep("round 2 train", state(1), state(2))
    assert kept(file.start_of("round 2 train")) == 1
    assert kept(StateFile(file.path).start_of("round 2 train")) == 1


# ---------------------------------------------------------------------- who is who


def visits(*devices: tuple[str, str]) -> dict[int, Connection]:
    return {
        node: Connection(node, "now", DeviceInfo(name, domain, 10, 5))
        for node, (name, domain) in enumerate(devices)
    }


def test_assignments_follow_domains_and_names_for_any_order_of_arrival() -> None:
    came = [("d", "south"), ("c", "north"), ("a", "attic"), ("b", "north")]
    for order in (came, came[::-1]):
        roll = DeviceRegistry(None, None, ["north", "south", "north", "south"])  # type: ignore[arg-type]
        roll._connections = visits(*order)
        roll._online = set(roll._connections)
        roll.assign()
        seats = {seat.client: seat.device for seat in roll.seats.values()}
        assert seats == {0: "b", 1: "d", 2: "c", 3: "a"}


def test_a_server_can_go_back_no_further_than_its_devices(four: Path) -> None:
    chosen = load_scenario(four, ["output.checkpoint_every=5"])
    devices = ["output.checkpoint_every=1", "participation.min_replies=1"]
    assert as_on_devices(chosen) == load_scenario(four, devices)
    said = load_scenario(four, ["participation.max_failed_share=0.5"])
    assert as_on_devices(said).participation == said.participation


def test_what_only_a_simulation_can_do_is_refused(four: Path) -> None:
    for override, says in (
        ("strategy=centralised", "moves samples between clients"),
        ("data.features=warm_up", "is computed where all data are"),
        ("partition.label_noise={name: symmetric, rate: 0.1}", "devices have the labels they have"),
    ):
        with pytest.raises(InputError, match=says):
            setup_of(load_scenario(four, [override]))
    (four.parent / "north.npz").unlink()
    with pytest.raises(InputError, match="name the classes of the devices' images with --classes"):
        setup_of(load_scenario(four))
    task = setup_of(load_scenario(four), ["cat", "dog"])
    assert (task.classes, task.shape, task.homes) == (("cat", "dog"), (3, 8, 8), (None,) * 4)
    assert setup_of(load_scenario(four), DIGITS).model.state_dict().keys()


class ThreeOutputs(torch.nn.Module):
    """Knows three classes, however many there are."""

    def __init__(self, input_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.dense = torch.nn.Linear(math.prod(input_shape), 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.dense(images.flatten(1))


def test_devices_are_not_given_a_network_that_does_not_fit(four: Path) -> None:
    fields: dict[str, Any] = {"model": f"{__name__}:ThreeOutputs", "strategy": "fedavg"}
    with pytest.raises(InputError, match=r"outputs of shape \(2, 3\).* there are 4 classes"):
        setup_of(load_scenario(four, **fields), ["a", "b", "c", "d"])
    assert setup_of(load_scenario(four, **fields), ["a", "b", "c"]).classes == ("a", "b", "c")


# ---------------------------------------------------------------------- the client itself


def invited(four: Path, domain: str, folder: Path) -> Participant:
    """A device that has accepted an invitation."""
    participant = Participant(domain, four.parent / f"{domain}.npz", None, folder, "cpu", 1)
    scenario = load_scenario(four)
    terms = setup_of(scenario).invitation("run", scenario)
    message = Message(terms.to_content(), dst_node_id=7, message_type=INVITE)
    reply = participant.answer(flower_compat.stamp(message))
    assert reply is not None
    assert DeviceInfo.of(reply.content) == DeviceInfo(domain, domain, 40, 20)
    return participant


@pytest.mark.parametrize("run", ["/../../stolen", "..", "a/b", ""])
def test_a_server_does_not_choose_where_a_device_writes(
    run: str, four: Path, tmp_path: Path
) -> None:
    flower_compat.assume_identity()
    device = Participant("north", four.parent / "north.npz", None, tmp_path / "d", "cpu", 1)
    terms = Invitation(run, fedlab.__version__, to_yaml(load_scenario(four)), DIGITS, (3, 8, 8))
    message = Message(terms.to_content(), dst_node_id=7, message_type=INVITE)
    with pytest.raises(InputError, match="which is no name"):
        device.answer(flower_compat.stamp(message))


def to_train(four: Path, server_round: int = 1, **records: ConfigRecord) -> Message:
    """A round's message to client 0; with records of its own as a device gets it."""
    model = setup_of(load_scenario(four)).model
    shared = {n: t for n, t in model.state_dict().items() if n.startswith("classifier")}
    config = ConfigRecord({"server-round": server_round, "rounds": 3})
    content = RecordDict({"arrays": to_record(shared or model.state_dict()), "config": config})
    for name, record in records.items():
        content[name] = record
    content = to_wire(content) if records else content
    message = Message(content, dst_node_id=FIRST_NODE_ID, message_type="train")
    return flower_compat.stamp(message)


def values(reply: Message) -> dict[str, np.ndarray]:
    content = reply.content
    arrays = (from_wire(content) if PACKED in content["arrays"] else content)["arrays"]
    return {name: array.numpy() for name, array in arrays.items()}  # type: ignore[union-attr]


def test_simulations_and_devices_answer_with_the_same_client_app(
    four: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    apps: list[CohortApp] = []
    build = worker.build_client_app

    def recording(runtime_for: Callable[..., Runtime]) -> CohortApp:
        apps.append(build(runtime_for))
        return apps[-1]

    monkeypatch.setattr(worker, "build_client_app", recording)
    flower_compat.assume_identity()
    scenario = load_scenario(four)
    data, partition = divide(scenario)
    grid = LocalGrid(make_runtime(scenario, "cpu", 1, data, partition))
    actor = Actor()
    actor.prepare([], pickle.dumps(partial(make_runtime, scenario, "cpu", 1)), data, partition)
    device = invited(four, "north", tmp_path / "device")

    seat = ConfigRecord({"client": 0, "clients": 4})
    on_device = device.answer(to_train(four, seat=seat))
    assert on_device is not None
    message = to_train(four)
    on_actor = actor.answer(
        "1", message.content, ([client_task_of(message)], False, None, None), False, None
    )
    (here,) = grid.send_and_receive([message])
    mine = values(here)
    for reply in (on_device, on_actor.replies[0]):
        assert all((array == mine[name]).all() for name, array in values(reply).items())
    answered = [grid.worker.app, actor.worker.app, device._worker(0, 4).app]
    assert all(app in apps for app in answered)
    handlers = [{name: f.__code__ for name, f in a._registered_funcs.items()} for a in answered]
    assert handlers[0] == handlers[1] == handlers[2]


@pytest.mark.slow
def test_a_device_that_trains_a_round_again_comes_to_the_same_end(
    four: Path, tmp_path: Path
) -> None:
    flower_compat.assume_identity()
    folder = tmp_path / "device"
    seat = ConfigRecord({"client": 0, "clients": 4})
    device = invited(four, "north", folder)
    replies = [device.answer(to_train(four, server_round, seat=seat)) for server_round in (1, 2)]
    restarted = invited(four, "north", folder)
    again = restarted.answer(to_train(four, 2, seat=seat))
    first, second, third = (values(reply) for reply in (*replies, again) if reply)
    assert all((second[name] == third[name]).all() for name in second)
    assert any((first[name] != second[name]).any() for name in first)


def test_tensors_that_cannot_be_read_cost_a_device_a_round(four: Path, tmp_path: Path) -> None:
    flower_compat.assume_identity()
    device = invited(four, "north", tmp_path / "device")
    message = to_train(four)
    message.content["seat"] = ConfigRecord({"client": 0, "clients": 4})
    reply = device.answer(message)  # as a device sends it that does not pack tensors
    assert reply is not None
    assert reply.has_error()
    assert "damaged tensors" in str(reply.error.reason)


def test_an_earlier_process_s_messages_are_left_alone(four: Path, tmp_path: Path) -> None:
    flower_compat.assume_identity()
    device = Participant("north", four.parent / "north.npz", None, tmp_path / "d", "cpu", 1)
    assert device.answer(to_train(four, seat=ConfigRecord({"client": 0, "clients": 4}))) is None


# ---------------------------------------------------------------------- a server that is gone


class Gone:
    """A connection to a server that is not there."""

    node_id = 0

    def __init__(self, *_: object) -> None: ...
    def close(self) -> None: ...

    def register(self) -> None:
        raise httpx.ConnectError("no server is there")

    activate = register


@pytest.mark.parametrize("has_ended", [True, False])
def test_a_device_does_not_look_for_a_server_for_ever(
    four: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_ended: bool
) -> None:
    monkeypatch.setattr(join, "FleetLink", Gone)
    monkeypatch.setattr(join, "BACK_OFF_SECONDS", (0.01, 0.02))
    monkeypatch.setattr(join, "PARTING_SECONDS", 0.1)
    device = Participant("north", four.parent / "north.npz", None, tmp_path, "cpu", 1)
    device.has_ended = has_ended
    who = Credentials("north", folder_module.own_key(tmp_path), None)
    if has_ended:  # then it has missed the farewell
        farewell = join.take_part("a:1", who, device, tmp_path, patience=60)
        assert farewell.finished
        assert "is gone since this device has answered for the last round" in farewell.reason
    else:
        with pytest.raises(
            InputError, match=r"no server is there.*or be more patient with --patience"
        ):
            join.take_part("a:1", who, device, tmp_path, patience=0.2)


def test_a_device_knows_when_only_the_farewell_is_left(four: Path, tmp_path: Path) -> None:
    flower_compat.assume_identity()
    device = invited(four, "north", tmp_path / "device")
    seat = ConfigRecord({"client": 0, "clients": 4, "task": "x"})
    for server_round, kind, left in (
        (2, "evaluate", False),
        (3, "train", False),
        (3, "evaluate", True),
    ):
        message = to_train(four, server_round, seat=seat)
        message.metadata.__dict__["_message_type"] = kind
        reply = device.answer(message)
        assert reply is not None
        assert dict(reply.content["client"]) == {"id": 0, "task": "x"}  # type: ignore[arg-type]
        assert device.has_ended is left


def test_what_a_device_keeps_is_its_own(four: Path, tmp_path: Path) -> None:
    folder = tmp_path / "state" / "north"
    with folder_module.locked(folder):
        folder_module.own_key(folder)
        for path in (folder.parent, folder, *folder.iterdir()):
            assert path.stat().st_mode & 0o077 == 0, path
