"""Who may take part: the keys of devices, and the certificates of the server.

keys/ca.key              the certificate authority; its holder can pose as the server
keys/ca.crt              what devices know the server by
keys/server.key, .crt    the server's own, signed by the authority
keys/devices/NAME.pub    a device that may take part
keys/revoked/NAME.pub    one that may no longer
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from fedlab.deploy.security import certificates
from fedlab.deploy.security.certificates import private_pem, public_pem
from fedlab.errors import InputError
from fedlab.files import write_new_private, write_whole

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
TITLE = "fedlab device: "


@dataclass(frozen=True)
class DeviceKey:
    """A device that the server knows.

    Attributes:
        name: Its name.
        public: Its public key as PEM.
        revoked: Whether it may no longer take part.
        since: When it was added, or revoked.
    """

    name: str
    public: bytes
    revoked: bool
    since: datetime


@dataclass(frozen=True)
class Credentials:
    """By what device and server know each other; `KeyRing.add` writes it into one file.

    Attributes:
        name: The device's name.
        key: Its private key.
        authority: The certificate authority of its server, as PEM; None speaks in the clear.
    """

    name: str
    key: ec.EllipticCurvePrivateKey
    authority: bytes | None


class KeyRing:
    """The server's folder of keys.

    Args:
        folder: The folder; need not be there before `init`.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.authority_key = self.folder / "ca.key"
        self.authority = self.folder / "ca.crt"
        self.server_key = self.folder / "server.key"
        self.server_certificate = self.folder / "server.crt"
        self.registered = self.folder / "devices"
        self.revoked = self.folder / "revoked"

    @classmethod
    def open(cls, folder: str | Path) -> KeyRing:
        """A folder that `init` has made.

        Raises:
            InputError: If it has not.
        """
        ring = cls(folder)
        for file in (ring.authority_key, ring.authority, ring.server_key, ring.server_certificate):
            if not file.is_file():
                raise InputError(
                    f"the folder '{folder}' has no {file.name}; make the server's keys with "
                    "`fedlab keys init`, or name their folder with --keys"
                )
        return ring

    def init(self, hosts: Sequence[str]) -> bool:
        """Makes the authority, unless it is there, and a new certificate of the server.

        Args:
            hosts: Names and addresses that devices reach the server by; this machine's own name
                and the loopback are always among them.

        Returns:
            Whether the authority is new.

        Raises:
            InputError: If the folder cannot be written, or the authority cannot be read.
        """
        new = not self.authority_key.exists()
        try:
            self.registered.mkdir(parents=True, exist_ok=True)
            self.revoked.mkdir(exist_ok=True)
            self.folder.chmod(0o700)
            if new:
                key, certificate = certificates.make_authority()
                write_whole(self.authority, certificates.pem(certificate).decode())
                # last: it says that both are there
                write_whole(self.authority_key, private_pem(key), private=True)
            authority = certificates.load_authority(self.authority_key, self.authority)
            key, certificate = certificates.make_server(authority, hosts)
            write_whole(self.server_key, private_pem(key), private=True)
            write_whole(self.server_certificate, certificates.pem(certificate).decode())
        except OSError as error:
            raise InputError(
                f"the folder '{self.folder}' cannot be written: {error.strerror}; choose another "
                "with --keys"
            ) from error
        return new

    def add(self, name: str, file: Path) -> None:
        """Makes a device's key pair: the public key stays here, the private one goes into a file.

        Args:
            name: The device's name; also the stable identity of its client.
            file: What the device gets; holds its private key.

        Raises:
            InputError: If the name is taken or not usable, or a file is there already.
        """
        if not NAME.fullmatch(name):
            raise InputError(
                f"'{name}' is no name for a device; use letters, digits, '.', '_' and '-'"
            )
        if (self.registered / f"{name}.pub").exists():
            raise InputError(
                f"there is a device '{name}' already; choose another name, or revoke it first with "
                f"`fedlab keys revoke {name}`"
            )
        key = certificates.make_key()
        text = f"{TITLE}{name}\n".encode() + private_pem(key) + self.authority.read_bytes()
        try:
            write_new_private(file, text)
        except FileExistsError as error:
            raise InputError(f"'{file}' is there already; name another with --out") from error
        except OSError as error:
            raise InputError(f"'{file}' cannot be written: {error.strerror}") from error
        write_whole(self.registered / f"{name}.pub", public_pem(key.public_key()).decode())

    def revoke(self, name: str) -> None:
        """Shuts a device out, at once where a server is running.

        Raises:
            InputError: If there is no such device.
        """
        self.revoked.mkdir(exist_ok=True)
        try:
            os.replace(self.registered / f"{name}.pub", self.revoked / f"{name}.pub")
            (self.revoked / f"{name}.pub").touch()
        except FileNotFoundError as error:
            known = ", ".join(each.name for each in self.devices() if not each.revoked)
            raise InputError(
                f"there is no device '{name}'; the devices are {known or '(none)'}"
            ) from error

    def devices(self) -> list[DeviceKey]:
        """All devices, by name: those that may take part, then those that no longer may."""
        found: list[DeviceKey] = []
        for folder in (self.registered, self.revoked):
            for file in sorted(folder.glob("*.pub")):
                since = datetime.fromtimestamp(file.stat().st_mtime, UTC)
                revoked = folder == self.revoked
                found.append(DeviceKey(file.stem, file.read_bytes(), revoked, since))
        return found

    def check(self) -> None:
        """Checks the server's certificate before devices are asked to trust it.

        Raises:
            InputError: If it has expired, is not valid yet, or is of another authority.
        """
        certificates.check_server(self.server_certificate, self.authority)


def read_credentials(file: Path) -> Credentials:
    """Reads what `KeyRing.add` has made for a device.

    Raises:
        InputError: If the file is missing or no such file.
    """
    remedy = "name the file that `fedlab keys add` has made for this device"
    try:
        text = file.read_bytes()
    except OSError as error:
        raise InputError(f"--key: '{file}' cannot be read: {error.strerror}; {remedy}") from error
    title, _, rest = text.partition(b"\n")
    name = title.decode("utf-8", "replace").removeprefix(TITLE).strip()
    if not title.startswith(TITLE.encode()) or not NAME.fullmatch(name):  # also names a folder
        raise InputError(f"--key: '{file}' is no key of a fedlab device; {remedy}")
    key_end = b"-----END PRIVATE KEY-----\n"
    key, mark, authority = rest.partition(key_end)
    try:
        loaded = certificates.load_key(key + mark)
        certificates.load_certificate(authority)
    except ValueError as error:
        raise InputError(f"--key: '{file}' is damaged ({error}); {remedy}") from error
    return Credentials(name, loaded, authority)
