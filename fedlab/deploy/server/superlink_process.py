"""Flower's SuperLink as a child process, which ends with its parent.

    python -m fedlab.deploy.server.superlink_process <<< '{"socket": 3, ...}'

It reads its settings from the first line of stdin, inherits the listening socket, and writes one
line with the run's ticket. It ends when stdin is closed, as that means that its parent has ended.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from fedlab.deploy.security.keys import KeyRing
from fedlab.errors import InputError, RunError
from fedlab.flower_compat.superlink_client import Link, Ticket

START_SECONDS = 120.0
"""Timeout for the start of a SuperLink, in seconds."""

STOP_SECONDS = 5.0
POLL_SECONDS = 0.5
"""Interval between checks of the folder of keys, in seconds."""

HEARTBEAT_SECONDS = 5.0


@dataclass(frozen=True)
class Endpoint:
    """Where a SuperLink listens.

    Attributes:
        host: Name or address to listen at; ``0.0.0.0`` for all.
        port: Port; 0 takes a free one.
        keys: The server's keys; None for plain HTTP without authentication.
    """

    host: str
    port: int
    keys: KeyRing | None


class SuperLink:
    """A handle of the process in its parent.

    Args:
        endpoint: Where to listen.
        log_file: File for the process's output.

    Raises:
        InputError: If the port is taken or the address is not this machine's.
        RunError: If the process does not start.
    """

    def __init__(self, endpoint: Endpoint, log_file: Path) -> None:
        self.keys = endpoint.keys
        self.log_file = log_file
        with _listen(endpoint.host, endpoint.port) as listening:
            host, self.port = listening.getsockname()[:2]
            here = "127.0.0.1" if host in ("0.0.0.0", "::") else host
            self.address = f"[{here}]:{self.port}" if ":" in here else f"{here}:{self.port}"
            with log_file.open("ab") as log:
                self._process = subprocess.Popen(
                    # Without the current folder, whose files could pass for installed ones.
                    [sys.executable, "-P", "-m", "fedlab.deploy.server.superlink_process"],
                    env=_environment(),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    pass_fds=[listening.fileno()],
                    text=True,
                    start_new_session=True,  # Ctrl-C is for the parent, which then ends this one
                )
            settings = {
                "socket": listening.fileno(),
                "keys": str(endpoint.keys.folder) if endpoint.keys else None,
            }
        try:
            self.ticket = self._start(settings)
        except BaseException:
            self.close()
            raise

    def _start(self, settings: dict[str, Any]) -> Ticket:
        assert self._process.stdin
        assert self._process.stdout
        answer: list[str] = []
        reader = threading.Thread(
            target=lambda out: answer.append(out.readline()), args=[self._process.stdout]
        )
        try:
            self._process.stdin.write(json.dumps(settings) + "\n")
            self._process.stdin.flush()
            reader.start()
            reader.join(START_SECONDS)
            return Ticket(*json.loads(answer[0]))
        except (OSError, ValueError, IndexError) as error:
            raise RunError(f"the SuperLink has not started; see '{self.log_file}'") from error

    @property
    def authority(self) -> bytes | None:
        """The certificate of its authority; None for plain HTTP."""
        return self.keys.authority.read_bytes() if self.keys else None

    def is_alive(self) -> bool:
        """Whether it is still running."""
        return self._process.poll() is None

    def check(self) -> None:
        """Checks that it is still running.

        Raises:
            RunError: If it has ended.
        """
        code = self._process.poll()
        if code is not None:
            raise RunError(f"the SuperLink has ended (exit code {code}); see '{self.log_file}'")

    def close(self) -> None:
        """Ends it."""
        if self._process.stdin:
            with suppress(BrokenPipeError):  # it has ended before it read its instructions
                self._process.stdin.close()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout:
            self._process.stdout.close()

    def __enter__(self) -> SuperLink:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _environment() -> dict[str, str]:
    """This process's environment, in which fedlab is found wherever it is installed."""
    home = str(Path(__file__).parents[2])
    found = [path for path in sys.path if path not in ("", str(Path.cwd()))]
    if home in found:
        return dict(os.environ)
    paths = [os.environ.get("PYTHONPATH", ""), home]
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}


def _listen(host: str, port: int) -> socket.socket:
    """A socket that listens, before anything else is started.

    Raises:
        InputError: If that cannot be.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(256)
    except OSError as error:
        listening.close()
        raise InputError(
            f"--host, --port: cannot listen at {host}:{port}: {error.strerror or error}; another "
            "server may be running there: stop it, or choose another port"
        ) from error
    return listening


def main() -> None:
    """What the process does."""
    import asyncio.constants

    import uvicorn

    from fedlab.deploy.server.front import (
        HEADER_SECONDS,
        IDLE_SECONDS,
        Door,
        Front,
        TimedProtocol,
        places,
    )

    settings = json.loads(sys.stdin.readline())
    ring = KeyRing(settings["keys"]) if settings["keys"] else None
    link = Link(authenticated=ring is not None)
    if ring is not None:
        _admit(link, _admitted(ring))
    ticket = link.open_run()
    # What asyncio waits for a handshake is no parameter of uvicorn's.
    asyncio.constants.SSL_HANDSHAKE_TIMEOUT = HEADER_SECONDS  # type: ignore[attr-defined]
    config = uvicorn.Config(
        Front(link.app, ticket.token, None if ring is None else link.public_keys),
        log_config=None,
        loop="asyncio",  # whose sockets can be counted
        http=TimedProtocol,
        timeout_keep_alive=IDLE_SECONDS,
        ws="none",
        access_log=False,
        timeout_graceful_shutdown=1,
        ssl_certfile=ring.server_certificate if ring else None,
        ssl_keyfile=str(ring.server_key) if ring else None,
    )
    server = uvicorn.Server(config)
    threading.Thread(target=_watch, args=[link, ticket, ring], daemon=True).start()
    threading.Thread(target=_end_with_parent, args=[server], daemon=True).start()
    print(json.dumps(ticket), flush=True)
    server.run(sockets=[Door(socket.socket(fileno=settings["socket"]), places())])


def _admitted(ring: KeyRing) -> dict[str, bytes]:
    return {device.name: device.public for device in ring.devices() if not device.revoked}


def _admit(link: Link, keys: dict[str, bytes]) -> None:
    for name in link.admit(keys):
        text = f"the key of '{name}' was shut out and counts again when the server is started anew"
        print(text, file=sys.stderr, flush=True)


def _watch(link: Link, ticket: Ticket, ring: KeyRing | None) -> None:
    """Keeps the run alive, and lets in and shuts out devices as their keys come and go."""
    beaten = time.monotonic()
    known = _admitted(ring) if ring else {}
    while True:
        time.sleep(POLL_SECONDS)
        if time.monotonic() - beaten > HEARTBEAT_SECONDS:
            beaten = time.monotonic()
            link.keep_run(ticket)
        if ring is not None:
            try:
                now = _admitted(ring)
            except OSError:  # a key was moved while it was read; the next pass sees the change
                continue
            if now != known:
                _admit(link, now)
                known = now


def _end_with_parent(server: object) -> None:
    while sys.stdin.readline():
        pass
    server.should_exit = True  # type: ignore[attr-defined]
    time.sleep(STOP_SECONDS - 1)
    os._exit(0)


if __name__ == "__main__":
    main()
