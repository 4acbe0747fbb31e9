"""A filter in front of the SuperLink, with limits for unauthenticated connections.

Flower reads a request's whole body before it checks the signature in its headers, waits without a
timeout for requests, and accepts replayed signed requests. Here connections are limited and timed,
and the body of a request is read only if its headers have a known key.
"""

from __future__ import annotations

import asyncio
import json
import socket
import time
from base64 import b64decode
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from fedlab.deploy.readable import NOT_LET_IN
from fedlab.flower_compat.superlink_client import FRESH_SECONDS, KEY, SIGNATURE, TIMESTAMP, TOKEN

if TYPE_CHECKING:
    from uvicorn.protocols.http.h11_impl import H11Protocol as AutoHTTPProtocol
else:  # the fastest of the installed ones
    from uvicorn.protocols.http.auto import AutoHTTPProtocol

BODY_BYTES = 8 << 20
"""Largest size of a request's body. Larger content is sent in parts of 5 MiB."""

HEADER_SECONDS = 10.0
"""Timeout for a request's headers in seconds, and separately for the TLS handshake."""

IDLE_SECONDS = 75
"""Timeout between two requests of a connection in seconds; devices pause for less."""

PAUSE_SECONDS = 30.0
"""Timeout between two parts of a body in seconds."""

SPARE_FILES = 64
"""Number of open files reserved for other uses than connections."""

Scope = dict[str, Any]
Receive = Callable[[], Any]
Send = Callable[[dict[str, Any]], Any]


class Door(socket.socket):
    """A listening socket with a limited number of connections, of which an address gets half.

    Args:
        listening: The socket to replace.
        places: Largest number of simultaneous connections.
    """

    def __init__(self, listening: socket.socket, places: int) -> None:
        super().__init__(
            listening.family, listening.type, listening.proto, fileno=listening.detach()
        )
        self.places = places
        self._open: list[tuple[str, socket.socket]] = []

    def accept(self) -> tuple[socket.socket, Any]:
        """The next connection.

        Raises:
            BlockingIOError: If no connection is waiting, or it exceeds a limit and was closed.
        """
        connection, address = super().accept()
        self._open = [(host, each) for host, each in self._open if each.fileno() != -1]
        hosts = Counter(host for host, _ in self._open)
        if len(self._open) >= self.places or 2 * hosts[address[0]] >= self.places:
            connection.close()
            raise BlockingIOError
        self._open.append((address[0], connection))
        return connection, address


class TimedProtocol(AutoHTTPProtocol):
    """Uvicorn's protocol with a timeout for incomplete requests."""

    def connection_made(self, transport: Any) -> None:
        """Starts the timer."""
        super().connection_made(transport)
        self._timer: asyncio.TimerHandle | None = None
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Stops the timer when a request is complete, and starts it when one has begun."""
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stops the timer."""
        self._stop()
        super().connection_lost(exc)

    @property
    def _works(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _watch(self) -> None:
        if self._works:
            self._stop()
        elif self._timer is None:
            self._timer = self.loop.call_later(HEADER_SECONDS, self._drop)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _drop(self) -> None:
        self._timer = None
        # Between two requests, uvicorn has its own timeout.
        if not self._works and self.timeout_keep_alive_task is None:
            self.transport.close()


class Front:
    """The SuperLink's ASGI application behind a check of the headers.

    Args:
        app: The application.
        token: The token of the server's own requests.
        keys: Public keys of the devices in the form used in headers; None accepts all devices.
    """

    def __init__(
        self, app: Any, token: str, keys: Callable[[], Collection[bytes]] | None = None
    ) -> None:
        self.app = app
        self.token = token.encode()
        self.keys = keys
        self._seen: OrderedDict[tuple[bytes, bytes, int], float] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuses requests by their headers, or forwards them."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        status = self._refuses(scope["path"], headers)
        if status:
            await _answer(send, status)
            return
        await self.app(scope, _Body(receive), send)

    def _refuses(self, path: str, headers: dict[bytes, bytes]) -> int:
        """The HTTP status of a refused request; 0 for an accepted one."""
        if path.startswith("/v1/runtime/"):
            known = headers.get(TOKEN) == self.token
        elif path.startswith("/v1/fleet/"):
            known = self.keys is None or self._known(headers)
        else:  # the control interface, which registers nodes and starts runs, is closed
            return 401 if path.startswith("/v1/control/") else 404
        if not known:
            return 401
        size = headers.get(b"content-length", b"")
        return 0 if size.isdigit() and int(size) <= BODY_BYTES else 413

    def _known(self, headers: dict[bytes, bytes]) -> bool:
        """Whether a request has a device's key and is not a replay.

        Flower verifies the signature itself. To detect replays, only the first half (r) of an ECDSA
        signature is stored, which cannot be changed without the key.
        """
        assert self.keys is not None
        try:
            key = headers[KEY]
            if b64decode(key, validate=True) not in self.keys():
                return False
            r, _ = decode_dss_signature(b64decode(headers[SIGNATURE], validate=True))
            request = key, headers[TIMESTAMP], r
        except (KeyError, ValueError):
            return False
        now = time.monotonic()
        while self._seen and next(iter(self._seen.values())) < now - FRESH_SECONDS:
            self._seen.popitem(last=False)
        if request in self._seen:
            return False
        self._seen[request] = now
        return True


class _Body:
    """A request's body, with limits on its size and pauses."""

    def __init__(self, receive: Receive) -> None:
        self.receive = receive
        self.size = 0
        self.whole = False

    async def __call__(self) -> dict[str, Any]:
        if self.whole:  # further calls wait for the end of the connection
            return await self.receive()
        try:
            message = await asyncio.wait_for(self.receive(), PAUSE_SECONDS)
        except TimeoutError:
            return {"type": "http.disconnect"}
        self.size += len(message.get("body", b""))
        self.whole = not message.get("more_body", False)
        return message if self.size <= BODY_BYTES else {"type": "http.disconnect"}


async def _answer(send: Send, status: int) -> None:
    text = json.dumps({"detail": NOT_LET_IN}).encode()
    headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
    headers.append((b"content-length", str(len(text)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text})


def places() -> int:
    """Largest number of connections, after raising the limit of open files to the system's."""
    import resource

    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = most if most != resource.RLIM_INFINITY else 1 << 16
    wanted = min(wanted, 1 << 16)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
    return max(2, wanted - SPARE_FILES)
