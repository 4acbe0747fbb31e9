"""Runs a device with the options of `fedlab join`."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fedlab.deploy.device.folder import locked, own_key
from fedlab.deploy.security.keys import Credentials, read_credentials
from fedlab.deploy.security.network import refuse_open_network
from fedlab.errors import InputError

if TYPE_CHECKING:
    from fedlab.deploy.handshake import Farewell

log = logging.getLogger("fedlab")

PATIENCE = 3600.0
"""Default timeout for reaching a server that is gone, in seconds."""


@dataclass(frozen=True)
class Settings:
    """The options of `fedlab join`.

    Attributes:
        data: The device's samples.
        domain: Name of their domain; by default that of the file, folder or data set.
        key: File with the device's key.
        name: The device's name, where it has no key; by default the domain's.
        state: Folder for devices' states, each in a subfolder of its name.
        insecure: Whether to use plain HTTP without authentication.
        force: Whether to allow that on the network, too.
        device: The PyTorch device by its name; by default the accelerator where there is one.
        threads: PyTorch threads; by default as many as there are cores.
        patience: Seconds without the server after which to give up.
        weights: Where this device has the file of weights that the scenario names, if it has it
            elsewhere than the server.
    """

    data: Path
    domain: str | None = None
    key: Path | None = None
    name: str | None = None
    state: Path = Path("fedlab-state")
    insecure: bool = False
    force: bool = False
    device: str | None = None
    threads: int | None = None
    patience: float = PATIENCE
    weights: Path | None = None


def join_server(address: str, settings: Settings) -> Farewell:
    """Takes part in a server's run until it ends.

    Raises:
        InputError: If an option is wrong, the server does not let this device in, or the data do
            not fit the scenario.
    """
    _check_address(address)
    if not settings.data.exists():
        raise InputError(f"--data: there is nothing at '{settings.data}'; correct the path")
    credentials = None
    if settings.insecure:
        if settings.key:
            raise InputError("--key and --insecure exclude each other; leave one of them out")
        refuse_open_network(address.rpartition(":")[0].strip("[]"), settings.force)
        name = settings.name or settings.domain or settings.data.absolute().stem
    elif settings.key is None:
        raise InputError(
            "--key: name the file that `fedlab keys add` has made for this device, or use "
            "--insecure on one machine"
        )
    else:
        credentials = read_credentials(settings.key)
        name = credentials.name
    if name in (".", "..") or "/" in name:
        raise InputError(f"--name: '{name}' cannot be the name of a folder; choose another")
    with locked(settings.state / name) as folder:
        identity = credentials or Credentials(name, own_key(folder), None)
        return _take_part(address, identity, settings, folder)


def _take_part(address: str, identity: Credentials, settings: Settings, folder: Path) -> Farewell:
    name = identity.name
    log.info("'%s' is starting; PyTorch takes seconds to load, on a busy machine a minute", name)
    # Here, so that a mistyped option is reported at once, and nothing is slow without a word.
    from fedlab import accelerator
    from fedlab.deploy.device.join import take_part
    from fedlab.deploy.device.participant import Participant

    device = str(accelerator.device_of(settings.device or "auto", "--device"))
    threads = settings.threads or len(os.sched_getaffinity(0))
    logging.getLogger("flwr").setLevel(logging.ERROR)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    participant = Participant(
        name, settings.data, settings.domain, folder, device, threads, settings.weights
    )
    return take_part(address, identity, participant, folder, settings.patience)


def _check_address(address: str) -> None:
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise InputError(f"'{address}' is no address; write it as HOST:PORT, e.g. 10.0.0.5:9092")
