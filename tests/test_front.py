"""What a server does with those of whom it knows nothing, and how little devices cost that wait."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import httpx
import pytest
import uvicorn
from cryptography.hazmat.primitives.asymmetric import ec

from fedlab.deploy.security.certificates import make_key, public_pem
from fedlab.deploy.server import front
from fedlab.deploy.server.front import Door, Front, TimedProtocol
from fedlab.flower_compat.fleet_client import FleetLink
from fedlab.flower_compat.run_grid import connect
from fedlab.flower_compat.superlink_client import KEY, Link, Ticket
from helpers.processes import PATIENCE, wait_until

PLACES = 8


class Served(NamedTuple):
    """A SuperLink in this process, in the clear, that asks for keys."""

    link: Link
    ticket: Ticket
    port: int
    key: ec.EllipticCurvePrivateKey

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def dial(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(front, "HEADER_SECONDS", PATIENCE)
        patch.setattr(front, "PAUSE_SECONDS", PATIENCE)
        link, key = Link(authenticated=True), make_key()
        link.admit({"roof": public_pem(key.public_key())})
        ticket = link.open_run()
        listening = Door(socket.create_server(("127.0.0.1", 0)), PLACES)
        port = listening.getsockname()[1]
        config = uvicorn.Config(
            Front(link.app, ticket.token, link.public_keys),
            log_config=None,
            access_log=False,
            ws="none",
            loop="asyncio",
            http=TimedProtocol,
            timeout_keep_alive=int(PATIENCE),
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        assert wait_until(lambda: server.started, 60)
        yield Served(link, ticket, port, key)
        server.should_exit = True
        thread.join(10)


@pytest.fixture
def node(served: Served) -> Iterator[FleetLink]:
    link = FleetLink(served.address, served.key, None)
    link.activate()
    yield link
    link.deactivate()
    link.close()


def is_closed(connection: socket.socket, seconds: float = PATIENCE) -> bool:
    """Whether the server hangs up within so many seconds."""
    connection.settimeout(seconds)
    try:
        while connection.recv(4096):
            pass
        return True
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False


@pytest.mark.parametrize("path", ["/docs", "/openapi.json", "/health", "/", "/redoc"])
def test_there_are_no_pages(served: Served, path: str) -> None:
    assert httpx.get(f"http://{served.address}{path}").status_code == httpx.codes.NOT_FOUND


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/fleet/push-object", 401),
        ("/v1/runtime/push-object", 401),
        ("/v1/control/start-run", 401),
    ],
)
def test_a_stranger_s_body_is_not_read(served: Served, path: str, status: int) -> None:
    """It says that a gigabyte follows, and is answered before it has sent any of it."""
    with served.dial() as connection:
        head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {1 << 30}\r\n\r\n"
        connection.sendall(head.encode())
        assert connection.recv(4096).startswith(f"HTTP/1.1 {status}".encode())
        assert is_closed(connection)


def test_a_body_that_is_too_large_is_not_read(served: Served) -> None:
    with served.dial() as connection:
        head = (
            f"POST /v1/runtime/push-object HTTP/1.1\r\nhost: x\r\nflwr-task-token: "
            f"{served.ticket.token}\r\ncontent-length: {front.BODY_BYTES + 1}\r\n\r\n"
        )
        connection.sendall(head.encode())
        assert connection.recv(4096).startswith(b"HTTP/1.1 413")


def test_a_body_without_a_size_is_not_read(served: Served) -> None:
    headers = {"flwr-task-token": served.ticket.token}
    url = f"http://{served.address}/v1/runtime/push-object"
    answer = httpx.post(url, content=iter([b"x" * 1000] * 10), headers=headers)
    assert answer.status_code == httpx.codes.REQUEST_ENTITY_TOO_LARGE


@pytest.mark.parametrize(
    "words",
    [
        b"",
        b"POST /v1/fleet/push-object HTTP/1.1\r\nhost: x\r\n",
        b"GET /docs HTTP/1.1\r\nhost: x\r\nx: ",
    ],
)
def test_who_does_not_say_what_it_wants_is_hung_up_on(
    served: Served, words: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(front, "HEADER_SECONDS", 0.5)
    with served.dial() as connection:
        connection.sendall(words)
        assert is_closed(connection)


def test_a_body_that_stops_in_the_middle_is_not_waited_for(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(front, "PAUSE_SECONDS", 0.5)
    with served.dial() as connection:
        head = (
            f"POST /v1/runtime/get-nodes HTTP/1.1\r\nhost: x\r\nflwr-task-token: "
            f"{served.ticket.token}\r\ncontent-type: application/protobuf\r\n"
            "content-length: 100\r\n\r\nabc"
        )
        connection.sendall(head.encode())
        assert b"HTTP/1.1 200" not in connection.recv(4096)


def test_one_address_does_not_take_all_places(served: Served, node: FleetLink) -> None:
    dialled = [served.dial() for _ in range(3 * PLACES)]

    def kept() -> int:
        return sum(not is_closed(each, 0.01) for each in dialled)

    try:
        assert wait_until(lambda: kept() <= PLACES // 2, PATIENCE)
    finally:
        for each in dialled:
            each.close()
    assert wait_until(lambda: works(node), PATIENCE)


def works(node: FleetLink) -> bool:
    try:
        node.heartbeat()
    except httpx.HTTPError:
        return False
    return True


def test_a_captured_request_counts_once(served: Served, node: FleetLink) -> None:
    captured: list[httpx.Request] = []
    node._client._client.event_hooks = {"request": [captured.append]}
    node.heartbeat()
    node._client._client.event_hooks = {}
    (request,) = captured
    again = httpx.post(str(request.url), content=request.content, headers=dict(request.headers))
    assert again.status_code == httpx.codes.UNAUTHORIZED
    node.heartbeat()


def test_an_unknown_key_is_refused_before_its_body_is_read(served: Served) -> None:
    stranger = FleetLink(served.address, make_key(), None)
    with pytest.raises(httpx.HTTPStatusError) as refused:
        stranger.activate()
    assert refused.value.response.status_code == httpx.codes.UNAUTHORIZED
    assert KEY == b"flwr-public-key"


def test_the_server_itself_is_known_by_its_token(served: Served) -> None:
    grid = connect(served.address, served.ticket, None)
    assert list(grid.get_nodes()) == []
    wrong = connect(served.address, served.ticket._replace(token="x"), None, lambda: False)
    with pytest.raises(httpx.HTTPStatusError):
        list(wrong.get_nodes())


def test_calls_go_over_one_connection(served: Served, node: FleetLink) -> None:
    """A handshake for each would cost more than the call."""
    opened: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        dial: Callable = socket.create_connection

        def noted(*words: Any, **options: Any) -> socket.socket:
            opened.append("")
            return dial(*words, **options)

        patch.setattr(socket, "create_connection", noted)
        for _ in range(5):
            node.heartbeat()
            assert node.receive() is None
    assert not opened


def test_a_server_that_is_gone_is_not_called_again(served: Served) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    failed: list[int] = []

    def alive() -> bool:
        """Asked after each call that fails."""
        failed.append(port)
        return False

    grid = connect(f"127.0.0.1:{port}", served.ticket, None, alive)
    with pytest.raises(httpx.HTTPError):
        list(grid.get_nodes())
    assert failed == [port]
