"""Connects a device to a server's run, over lost connections and restarts."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
from flwr.app import Message, RecordDict

from fedlab.deploy.device.folder import writing
from fedlab.deploy.device.participant import Participant
from fedlab.deploy.handshake import FAREWELL, Farewell
from fedlab.deploy.reminder import Reminder
from fedlab.deploy.security.connection_errors import UnreachableError, explain
from fedlab.deploy.security.keys import Credentials
from fedlab.errors import InputError
from fedlab.files import write_whole
from fedlab.flower_compat.fleet_client import (
    HEARTBEAT_SECONDS,
    FleetLink,
    ObjectPullError,
    ObjectPushError,
)

log = logging.getLogger("fedlab")

POLL_SECONDS = (0.05, 10.0)
"""Shortest and longest interval between polls for messages, in seconds."""

LOOK_SHARE = 0.1
"""Polling interval as a share of the time since the last message, which bounds the relative delay
and the load of the server."""

BACK_OFF_SECONDS = (0.5, 30.0)
"""Shortest and longest interval between attempts to reconnect, in seconds."""

BACK_OFF_SHARE = (4.0, 0.1)
"""What an interval does not exceed: these seconds, or this share of the time without the server,
whichever is longer. A server that has started slowly does not wait long for its devices."""

HEARTBEAT_SHARE = 0.8
"""Interval between heartbeats as a share of the server's timeout."""

PARTING_SECONDS = 60.0
"""The same after its reply for the last round, when it has missed only the farewell."""

GRACE_SECONDS = 2.0
"""Timeout for the last heartbeat, in seconds."""


def take_part(
    address: str,
    identity: Credentials,
    participant: Participant,
    folder: Path,
    patience: float,
) -> Farewell:
    """Answers a server's messages until its farewell, or until it is gone for too long.

    Args:
        address: Host and port of the server.
        identity: The device's name and key.
        participant: Answers the messages.
        folder: The device's folder for data that must survive a restart.
        patience: Seconds without the server after which to give up.

    Raises:
        InputError: If the server does not let this device in, or its data do not fit; or if it
            cannot be reached for that long.
    """
    pause = BACK_OFF_SECONDS[0]
    reached = time.monotonic()
    while True:
        link = FleetLink(address, identity.key, identity.authority)
        leaves = True
        try:
            _take_place(link, identity, address, folder)
            pause = BACK_OFF_SECONDS[0]
            reached = time.monotonic()
            log.info("joined %s as '%s'", address, identity.name)
            with _beating(link):
                try:
                    return _answer_all(link, participant)
                finally:
                    reached = time.monotonic()
        except InputError:
            leaves = False  # a SuperLink drops pending replies of a node that has left
            raise
        except (UnreachableError, httpx.HTTPError, ObjectPullError, ObjectPushError) as error:
            known = error if isinstance(error, UnreachableError) else explain(error, address)
            if isinstance(known, InputError):
                raise known from error
            away = time.monotonic() - reached
            if participant.has_ended and away > PARTING_SECONDS:
                why = f"{address} is gone since this device has answered for the last round"
                return Farewell(finished=True, reason=why)
            if away > patience:
                raise InputError(
                    f"{known}, for {away:.0f} seconds by now; see whether the server runs, and "
                    "join again, or be more patient with --patience"
                ) from error
            log.warning("%s; trying again in %.3g s", known, pause)
        finally:
            if leaves and link.node_id:
                with suppress(httpx.HTTPError):
                    link.deactivate()
            link.close()
        time.sleep(pause)
        pause = _next_pause(pause, time.monotonic() - reached)


def _next_pause(pause: float, away: float) -> float:
    """The interval after the next attempt to reconnect, in seconds.

    Args:
        pause: The interval before it.
        away: Seconds without the server.
    """
    seconds, share = BACK_OFF_SHARE
    return min(2 * pause, max(seconds, share * away), BACK_OFF_SECONDS[1])


def _take_place(link: FleetLink, identity: Credentials, address: str, folder: Path) -> None:
    """Registers where that is free, and takes over from an earlier process of this device.

    Raises:
        InputError: If the server does not let this device in, or its folder cannot be written.
        UnreachableError: If it cannot be reached.
    """
    note = folder / "node"
    try:
        if note.exists():
            # The server may not have noticed yet that an earlier process has died.
            with suppress(httpx.HTTPStatusError, ValueError):  # gone already, or no number
                link.deactivate(int(note.read_text()))
        if identity.authority is None:
            with suppress(httpx.HTTPStatusError):  # the key is known from before
                link.register()
        link.activate()
    except httpx.HTTPError as error:
        raise explain(error, address, identity.name) from error
    with writing(note):
        write_whole(note, f"{link.node_id}\n", private=True)


def _answer_all(link: FleetLink, participant: Participant) -> Farewell:
    """Answers messages one by one.

    Raises:
        httpx.HTTPError: If the connection is lost.
        InputError: If the device cannot take part; the server has been notified.
    """
    since, reminder = time.monotonic(), Reminder()
    while True:
        message = link.receive()
        if message is None:
            reminder.remind(lambda: participant.waits_for)
            waited = LOOK_SHARE * (time.monotonic() - since)
            time.sleep(min(max(waited, POLL_SECONDS[0]), POLL_SECONDS[1]))
            continue
        if message.metadata.message_type == FAREWELL:
            link.send(Message(RecordDict(), reply_to=message), 0)
            return Farewell.of(message.content)
        began = time.perf_counter()
        try:
            reply = participant.answer(message)
        except InputError as error:
            link.send(participant.refusal(message, error), time.perf_counter() - began)
            raise
        if reply is not None:
            link.send(reply, time.perf_counter() - began)
        since, reminder = time.monotonic(), Reminder()


@contextmanager
def _beating(link: FleetLink) -> Generator[None]:
    """Sends heartbeats in a thread while the block runs."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(HEARTBEAT_SHARE * HEARTBEAT_SECONDS):
            with suppress(httpx.HTTPError):  # polling for messages raises the same error
                link.heartbeat()

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        # A heartbeat that came after the farewell would bring the node back.
        thread.join(GRACE_SECONDS)
