"""A device's folder: what it keeps between rounds, for one process at a time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from fedlab.deploy.security import certificates
from fedlab.errors import InputError
from fedlab.files import make_private, write_whole


def own_key(folder: Path) -> ec.EllipticCurvePrivateKey:
    """The key of a device without a key from the server: created once, stored in its folder.

    Raises:
        InputError: If it cannot be written, or what is there is no key.
    """
    file = folder / "device.key"
    if not file.exists():
        with writing(file):
            write_whole(file, certificates.private_pem(certificates.make_key()), private=True)
    try:
        return certificates.load_key(file.read_bytes())
    except ValueError as error:
        raise InputError(
            f"--state: '{file}' is damaged ({error}); delete it: the server then takes this device "
            "for another one of the same name"
        ) from error


@contextmanager
def writing(file: Path) -> Generator[None]:
    """Context that raises why a file of the device's folder cannot be written.

    Raises:
        InputError: With the reason and the remedy.
    """
    try:
        yield
    except OSError as error:
        raise InputError(
            f"--state: '{file}' cannot be written: {error.strerror}; make room, or choose another "
            "folder"
        ) from error


@contextmanager
def locked(folder: Path) -> Generator[Path]:
    """Locks a device's folder for one process.

    Raises:
        InputError: If another process takes part with it, or it cannot be written.
    """
    try:
        if not folder.parent.exists():
            make_private(folder.parent)
        make_private(folder)
        lock = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        file = os.fdopen(lock, "a+")
    except OSError as error:
        raise InputError(
            f"--state: the folder '{folder}' cannot be written: {error.strerror}; choose another"
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise InputError(
                f"--state: another process (id {file.read().strip()}) takes part with the folder "
                f"'{folder}'; stop it, or give this one another name with --name, "
                "or another folder with --state"
            ) from error
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield folder
