"""Who may take part, and how a device finds its server: keys, certificates, addresses, folders."""

from __future__ import annotations

import http.server
import shutil
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import pytest
from cryptography import x509

from fedlab import cli
from fedlab.deploy.device.folder import locked
from fedlab.deploy.device.join import _take_place
from fedlab.deploy.device.node import Settings, join_server
from fedlab.deploy.security import certificates
from fedlab.deploy.security.connection_errors import explain
from fedlab.deploy.security.keys import Credentials, KeyRing, read_credentials
from fedlab.deploy.server.superlink_process import Endpoint, SuperLink
from fedlab.errors import InputError
from fedlab.flower_compat.fleet_client import FleetLink

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
def test_mistakes_with_keys_are_reported(
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


def test_a_server_does_not_start_with_an_untrusted_certificate(
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
        explained = explain(error, address, credentials.name)
        assert isinstance(explained, InputError)
        return str(explained)
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


def test_a_foreign_server_is_recognised(
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
        (
            ["serve", "smoke", "--insecure", "--host", "0.0.0.0"],
            "--insecure: any machine on the way",
        ),
        (
            ["join", "10.1.2.3:9092", "--data", ".", "--insecure"],
            "--insecure: any machine on the way",
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
