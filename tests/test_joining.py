"""What a device and its server check before anything is trained: keys, data, states, addresses."""

from __future__ import annotations

import http.server
import pickle
import shutil
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from cryptography import x509
from flwr.app import ConfigRecord, Message, RecordDict
from four_domains import DOMAINS, write_four
from PIL import Image

import fedlab
from fedlab import cli, flower_compat
from fedlab.client_app import CohortApp
from fedlab.data.pool import load_data
from fedlab.deploy import certificates
from fedlab.deploy.device import Settings, join_server
from fedlab.deploy.join import _take_place, locked
from fedlab.deploy.keys import Credentials, KeyRing, read_credentials
from fedlab.deploy.own_data import OwnData, load_own_data
from fedlab.deploy.participant import Participant
from fedlab.deploy.refusals import explain
from fedlab.deploy.roll import Roll, Visit
from fedlab.deploy.server import with_every_checkpoint
from fedlab.deploy.state_file import StateFile
from fedlab.deploy.superlink import Endpoint, SuperLink
from fedlab.deploy.task import task_of
from fedlab.deploy.terms import INVITE, Invitation, Presence
from fedlab.engine import worker
from fedlab.engine.local_grid import LocalGrid
from fedlab.engine.portions import FIRST_NODE_ID, job_of
from fedlab.engine.ray_actor import Actor
from fedlab.engine.runtime import Runtime
from fedlab.engine.start import make_runtime
from fedlab.errors import InputError
from fedlab.flower_compat.fleet import FleetLink
from fedlab.records import PACKED, for_the_wire, from_the_wire, to_record
from fedlab.scenario_file import load_scenario, to_yaml
from fedlab.scenarios.partition import make_partition

DIGITS = tuple("0123")

# ---------------------------------------------------------------------- keys


@pytest.fixture
def ring(tmp_path: Path) -> KeyRing:
    keys = KeyRing(tmp_path / "keys")
    keys.init(["server.example", "192.168.1.10"])
    return KeyRing.open(keys.folder)


def test_keys_are_for_their_owner_alone(ring: KeyRing, tmp_path: Path) -> None:
    ring.add("camera-1", tmp_path / "camera-1.pem")
    for secret in (ring.authority_key, ring.server_key, tmp_path / "camera-1.pem"):
        assert secret.stat().st_mode & 0o077 == 0
    assert ring.folder.stat().st_mode & 0o077 == 0


def test_the_server_is_known_by_its_names(ring: KeyRing) -> None:
    ring.check()
    certificate = certificates.load_certificate(ring.server_certificate.read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {"server.example", "localhost"} <= set(names.get_values_for_type(x509.DNSName))
    addresses = map(str, names.get_values_for_type(x509.IPAddress))
    assert {"192.168.1.10", "127.0.0.1", "::1"} <= set(addresses)


def test_a_new_certificate_is_of_the_same_authority(ring: KeyRing) -> None:
    authority, server = ring.authority.read_bytes(), ring.server_certificate.read_bytes()
    assert not ring.init(["other.example"])
    assert ring.authority.read_bytes() == authority
    assert ring.server_certificate.read_bytes() != server
    ring.check()


def test_a_device_is_added_listed_and_revoked(ring: KeyRing, tmp_path: Path) -> None:
    ring.add("b", tmp_path / "b.pem")
    ring.add("a", tmp_path / "a.pem")
    ring.revoke("a")
    assert [(each.name, each.revoked) for each in ring.devices()] == [("b", False), ("a", True)]
    mine = read_credentials(tmp_path / "b.pem")
    assert mine.name == "b"
    assert mine.authority == ring.authority.read_bytes()
    assert certificates.public_pem(mine.key.public_key()) == ring.devices()[0].public
    ring.add("a", tmp_path / "again.pem")  # the name is free again, the old key stays shut out
    assert len(ring.devices()) == 3


@pytest.mark.parametrize(
    ("do", "says"),
    [
        (lambda ring, path: ring.add("a b", path / "x.pem"), "'a b' is no name for a device"),
        (lambda ring, path: ring.add("taken", path / "x.pem"), "there is a device 'taken' already"),
        (lambda ring, path: ring.add("c", path / "taken.pem"), "taken.pem' is there already"),
        (lambda ring, path: ring.revoke("c"), "no device 'c'; the devices are taken"),
        (lambda ring, path: KeyRing.open(path), r"has no ca.key; make .* with `fedlab keys init`"),
        (lambda ring, path: ring.init(["spaced name é"]), "is no name or address of a host"),
    ],
)
def test_mistakes_with_keys_are_told(
    do: Callable[[KeyRing, Path], object], says: str, ring: KeyRing, tmp_path: Path
) -> None:
    ring.add("taken", tmp_path / "taken.pem")
    with pytest.raises(InputError, match=says):
        do(ring, tmp_path)


def test_a_damaged_key_is_refused(ring: KeyRing, tmp_path: Path) -> None:
    file = tmp_path / "camera.pem"
    ring.add("camera", file)
    whole, none = file.read_bytes(), "is no key of a"
    elsewhere = whole.replace(b"camera", b"../camera")
    for text, says in ((whole[:200], "is damaged"), (b"hello", none), (elsewhere, none)):
        file.write_bytes(text)
        with pytest.raises(InputError, match=says):
            read_credentials(file)


def with_server_certificate(ring: KeyRing, days: int, hosts: tuple[str, ...] = ()) -> KeyRing:
    """The same keys with another certificate of the server."""
    authority = certificates.load_authority(ring.authority_key, ring.authority)
    key, certificate = certificates.make_server(authority, hosts, days)
    ring.server_key.write_bytes(certificates.private_pem(key))
    ring.server_certificate.write_bytes(certificates.pem(certificate))
    return ring


def test_a_server_does_not_start_with_a_certificate_that_nobody_would_trust(
    ring: KeyRing, tmp_path: Path
) -> None:
    other = KeyRing(tmp_path / "other")
    other.init([])
    shutil.copy(other.server_certificate, ring.server_certificate)
    with pytest.raises(InputError, match="not of the authority"):
        ring.check()
    with pytest.raises(InputError, match=r"expired on .*fedlab keys init"):
        with_server_certificate(ring, days=0).check()


# ---------------------------------------------------------------------- reaching the server


@pytest.fixture
def tls_server(ring: KeyRing) -> Iterator[Callable[[], str]]:
    """Starts something that speaks TLS with the server's certificate; gives its address."""
    started = []

    def start() -> str:
        server = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), http.server.BaseHTTPRequestHandler
        )
        server.handle_error = lambda *_: None  # type: ignore[method-assign]
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(ring.server_certificate, ring.server_key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        started.append(server)
        return f"127.0.0.1:{server.server_address[1]}"

    yield start
    for server in started:
        server.shutdown()
        server.server_close()


def refused(address: str, key: Path) -> str:
    """Why a device does not get in."""
    credentials = read_credentials(key)
    link = FleetLink(address, credentials.key, credentials.authority)
    try:
        link.activate()
    except Exception as error:
        told = explain(error, address, credentials.name)
        assert isinstance(told, InputError)
        return str(told)
    raise AssertionError("the device got in")


def test_another_authority_is_not_trusted(
    ring: KeyRing, tls_server: Callable[[], str], tmp_path: Path
) -> None:
    other = KeyRing(tmp_path / "other")
    other.init([])
    other.add("camera", tmp_path / "camera.pem")
    assert "its certificate is of another authority" in refused(
        tls_server(), tmp_path / "camera.pem"
    )


def test_a_clock_that_is_wrong_is_named(
    ring: KeyRing, tls_server: Callable[[], str], tmp_path: Path
) -> None:
    ring.add("camera", tmp_path / "camera.pem")
    with_server_certificate(ring, days=0)
    said = refused(tls_server(), tmp_path / "camera.pem")
    assert "has expired by this device's clock" in said
    assert "fedlab keys init" in said


def test_a_server_that_is_none_of_ours_is_told_from_one_that_is(
    ring: KeyRing, tls_server: Callable[[], str], tmp_path: Path
) -> None:
    ring.add("camera", tmp_path / "camera.pem")
    assert "not as a fedlab server does (status 501)" in refused(
        tls_server(), tmp_path / "camera.pem"
    )


class Portal(http.server.BaseHTTPRequestHandler):
    """Answers everything with a page, as networks in hotels do."""

    def do_POST(self) -> None:
        """Sends the page."""
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<html>Welcome</html>")

    def log_message(self, *_: object) -> None:
        """Says nothing."""


def test_a_page_of_the_web_is_not_taken_for_a_server(tmp_path: Path) -> None:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Portal)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    (tmp_path / "north.npz").touch()
    settings = Settings(tmp_path / "north.npz", insecure=True, state=tmp_path / "state")
    with pytest.raises(InputError, match=r"answers, but not as a fedlab server does"):
        join_server(f"127.0.0.1:{server.server_address[1]}", settings)
    server.shutdown()
    server.server_close()


def test_a_second_server_on_a_port_is_refused(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=rf"127\.0\.0\.1:{port}: Address already in use"):
            SuperLink(Endpoint("127.0.0.1", port, None), tmp_path / "log")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["serve", "smoke", "--insecure", "--host", "0.0.0.0"], "--insecure: everybody on the way"),
        (
            ["join", "10.1.2.3:9092", "--data", ".", "--insecure"],
            "--insecure: everybody on the way",
        ),
        (["join", "10.1.2.3:9092", "--data", "."], "--key: name the file"),
        (["join", "nowhere", "--data", "."], "'nowhere' is no address; write it as HOST:PORT"),
        (["join", "127.0.0.1:1", "--data", "gone", "--insecure"], "there is nothing at 'gone'"),
        (["serve", "smoke"], "make the server's keys with `fedlab keys init`"),
        (
            ["join", "127.0.0.1:1", "--data", ".", "--name", "../a", "--insecure"],
            "--name: '../a' cannot be the name of a folder",
        ),
    ],
)
def test_what_cannot_be_safe_or_right_is_refused_at_once(
    words: list[str],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["fedlab", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda own: (own / "device.key.unfinished").mkdir(), "device.key' cannot be written"),
        (lambda own: (own / "device.key").write_text("torn"), "device.key' is damaged"),
    ],
)
def test_a_folder_that_is_of_no_use_is_named(
    spoil: Callable[[Path], object], says: str, tmp_path: Path
) -> None:
    (tmp_path / "north.npz").touch()
    own = tmp_path / "state" / "north"
    own.mkdir(parents=True)
    spoil(own)
    with pytest.raises(InputError, match=f"--state: .*{says}"):
        join_server(
            "127.0.0.1:1",
            Settings(tmp_path / "north.npz", insecure=True, state=tmp_path / "state"),
        )


def test_a_device_that_cannot_note_its_place_says_so(tmp_path: Path) -> None:
    link = mock.Mock(spec=FleetLink, node_id=7)
    (tmp_path / "node").write_text("torn")
    (tmp_path / "node.unfinished").mkdir()  # as good as a full disk
    with pytest.raises(InputError, match="node' cannot be written"):
        _take_place(link, Credentials("a", certificates.make_key(), b""), "here:1", tmp_path)


def test_a_device_takes_part_once(tmp_path: Path) -> None:
    (tmp_path / "north.npz").touch()
    with locked(tmp_path / "fedlab-state" / "north"), pytest.raises(InputError, match="takes part"):
        join_server(
            "127.0.0.1:1",
            Settings(tmp_path / "north.npz", insecure=True, state=tmp_path / "fedlab-state"),
        )


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
    pooled = load_data(scenario.data)
    partition = make_partition(scenario.partition, pooled, scenario.seed)
    for client, domain in enumerate(DOMAINS):
        device = own(four, four.parent / f"{domain}.npz")
        assert device.domain == domain
        mine, theirs = device.partition(client, 4)[client], partition[client]
        for split in ("train", "test"):
            rows, pool = getattr(theirs, split), getattr(pooled, split)
            held = getattr(device.data, split)
            assert (held.inputs[getattr(mine, split)] == pool.inputs[rows]).all()
        assert (mine.labels == theirs.labels).all()
        assert all(len(device.partition(client, 4)[c].train) == 0 for c in range(4) if c != client)


def test_classes_are_matched_by_name(four: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    for name, count in (("03", 6), ("1", 5)):
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
    (tmp_path / "client.unfinished").mkdir()  # as good as a full disk
    with pytest.raises(OSError, match="directory"):
        file.keep("round 2 train", state(1), state(2))
    assert kept(file.start_of("round 2 train")) == 1
    assert kept(StateFile(file.path).start_of("round 2 train")) == 1


# ---------------------------------------------------------------------- who is who


def visits(*devices: tuple[str, str]) -> dict[int, Visit]:
    return {
        node: Visit(node, "now", Presence(name, domain, 10, 5))
        for node, (name, domain) in enumerate(devices)
    }


def test_seats_follow_domains_and_names_whoever_came_first() -> None:
    came = [("d", "south"), ("c", "north"), ("a", "attic"), ("b", "north")]
    for order in (came, came[::-1]):
        roll = Roll(None, None, ["north", "south", "north", "south"])  # type: ignore[arg-type]
        roll._visits = visits(*order)
        roll._online = set(roll._visits)
        roll.assign()
        seats = {seat.client: seat.device for seat in roll.seats.values()}
        assert seats == {0: "b", 1: "d", 2: "c", 3: "a"}


def test_a_server_can_go_back_no_further_than_its_devices(four: Path) -> None:
    chosen = load_scenario(four, ["output.checkpoint_every=5"])
    assert with_every_checkpoint(chosen) == load_scenario(four, ["output.checkpoint_every=1"])


def test_what_only_a_simulation_can_do_is_refused(four: Path) -> None:
    for override, says in (
        ("strategy=centralised", "moves samples between clients"),
        ("data.features=warm_up", "is computed where all data are"),
        ("partition.label_noise={name: symmetric, rate: 0.1}", "devices have the labels they have"),
    ):
        with pytest.raises(InputError, match=says):
            task_of(load_scenario(four, [override]))
    (four.parent / "north.npz").unlink()
    with pytest.raises(InputError, match="name the classes of the devices' images with --classes"):
        task_of(load_scenario(four))
    task = task_of(load_scenario(four), ["cat", "dog"])
    assert (task.classes, task.shape, task.homes) == (("cat", "dog"), (3, 8, 8), (None,) * 4)
    assert task_of(load_scenario(four), DIGITS).model.state_dict().keys()


# ---------------------------------------------------------------------- the client itself


def invited(four: Path, domain: str, folder: Path) -> Participant:
    """A device that has accepted an invitation."""
    participant = Participant(domain, four.parent / f"{domain}.npz", None, folder, "cpu", 1)
    terms = Invitation("run", fedlab.__version__, to_yaml(load_scenario(four)), DIGITS, (3, 8, 8))
    message = Message(terms.to_content(), dst_node_id=7, message_type=INVITE)
    reply = participant.answer(flower_compat.stamp(message))
    assert reply is not None
    assert Presence.of(reply.content) == Presence(domain, domain, 40, 20)
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
    model = task_of(load_scenario(four)).model
    shared = {n: t for n, t in model.state_dict().items() if n.startswith("classifier")}
    config = ConfigRecord({"server-round": server_round, "rounds": 3})
    content = RecordDict({"arrays": to_record(shared or model.state_dict()), "config": config})
    for name, record in records.items():
        content[name] = record
    content = for_the_wire(content) if records else content
    message = Message(content, dst_node_id=FIRST_NODE_ID, message_type="train")
    return flower_compat.stamp(message)


def values(reply: Message) -> dict[str, np.ndarray]:
    content = reply.content
    arrays = (from_the_wire(content) if PACKED in content["arrays"] else content)["arrays"]
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
    data = load_data(scenario.data)
    partition = make_partition(scenario.partition, data, scenario.seed)
    grid = LocalGrid(make_runtime(scenario, "cpu", 1, data, partition))
    actor = Actor()
    actor.prepare([], pickle.dumps(partial(make_runtime, scenario, "cpu", 1)), data, partition)
    device = invited(four, "north", tmp_path / "device")

    seat = ConfigRecord({"client": 0, "clients": 4})
    on_device = device.answer(to_train(four, seat=seat))
    assert on_device is not None
    message = to_train(four)
    on_actor = actor.answer("1", message.content, ([job_of(message)], False, None), False, None)
    (here,) = grid.send_and_receive([message])
    mine = values(here)
    for reply in (on_device, on_actor.replies[0]):
        assert all((array == mine[name]).all() for name, array in values(reply).items())
    answered = [grid.worker.app, actor.worker.app, device._worker(0, 4).app]
    assert all(app in apps for app in answered)
    handlers = [{name: f.__code__ for name, f in a._registered_funcs.items()} for a in answered]
    assert handlers[0] == handlers[1] == handlers[2]


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
    reply = device.answer(message)  # as somebody sends it who does not pack tensors
    assert reply is not None
    assert reply.has_error()
    assert "damaged tensors" in str(reply.error.reason)


def test_an_earlier_process_s_messages_are_left_alone(four: Path, tmp_path: Path) -> None:
    flower_compat.assume_identity()
    device = Participant("north", four.parent / "north.npz", None, tmp_path / "d", "cpu", 1)
    assert device.answer(to_train(four, seat=ConfigRecord({"client": 0, "clients": 4}))) is None
