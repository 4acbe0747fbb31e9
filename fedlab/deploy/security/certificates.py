"""X.509 certificates: the authority that devices trust, and the server that it vouches for."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fedlab.errors import InputError

AUTHORITY_DAYS = 10 * 365
SERVER_DAYS = 2 * 365
SLACK = timedelta(days=1)
"""How far a certificate's validity reaches back, for devices whose clocks are slow."""

LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Authority(NamedTuple):
    """A certificate authority."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate


def make_key() -> ec.EllipticCurvePrivateKey:
    """A new private key on a curve that SuperLinks accept."""
    return ec.generate_private_key(ec.SECP384R1())


def make_authority() -> Authority:
    """A new authority, which signs itself."""
    key = make_key()
    name = _name("fedlab certificate authority")
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    certificate = (
        _builder(name, name, key.public_key(), AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA256())
    )
    return Authority(key, certificate)


def make_server(
    authority: Authority, hosts: Sequence[str], days: int = SERVER_DAYS
) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    """A server's new key and certificate.

    Args:
        authority: Signs it.
        hosts: Names and addresses that it is good for, besides this machine's own.
        days: How long it is good for.
    """
    key = make_key()
    names = dict.fromkeys([*hosts, socket.gethostname(), *LOOPBACK])
    issuer = authority.certificate.subject
    authority_key = x509.SubjectKeyIdentifier.from_public_key(authority.key.public_key())
    certificate = (
        _builder(_name("fedlab server"), issuer, key.public_key(), days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([_host(name) for name in names]), False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(authority_key), False
        )
        .sign(authority.key, hashes.SHA256())
    )
    return key, certificate


def load_authority(key: Path, certificate: Path) -> Authority:
    """Reads an authority.

    Raises:
        InputError: If a file is damaged.
    """
    try:
        return Authority(load_key(key.read_bytes()), load_certificate(certificate.read_bytes()))
    except ValueError as error:
        raise InputError(
            f"'{key}' and '{certificate}' cannot be read ({error}); restore them from a copy, or "
            "delete the folder and make new keys for the server and all devices"
        ) from error


def load_key(text: bytes) -> ec.EllipticCurvePrivateKey:
    """Reads a private key from PEM.

    Raises:
        ValueError: If it is damaged or of another kind.
    """
    key = serialization.load_pem_private_key(text, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("not a key on an elliptic curve")
    return key


def load_certificate(text: bytes) -> x509.Certificate:
    """Reads a certificate from PEM.

    Raises:
        ValueError: If it is damaged.
    """
    return x509.load_pem_x509_certificate(text)


def check_server(server: Path, authority: Path) -> None:
    """Checks that a server's certificate is good today and of its authority.

    Raises:
        InputError: If it is not; the remedy is a new one.
    """
    remedy = "make a new one with `fedlab keys init`"
    try:
        certificate = load_certificate(server.read_bytes())
        issuer = load_certificate(authority.read_bytes())
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature) as error:
        raise InputError(
            f"'{server}' is damaged, or not of the authority '{authority}' "
            f"({error or 'the signature does not match'}); {remedy}"
        ) from error
    now = datetime.now(UTC)
    if now > certificate.not_valid_after_utc:
        ended = f"{certificate.not_valid_after_utc:%Y-%m-%d}"
        raise InputError(f"the server's certificate '{server}' expired on {ended}; {remedy}")
    if now < certificate.not_valid_before_utc:
        raise InputError(
            f"the server's certificate '{server}' is valid from "
            f"{certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC, and this machine's clock says "
            f"{now:%Y-%m-%d %H:%M}; set the clock, or {remedy}"
        )


def pem(certificate: x509.Certificate) -> bytes:
    """A certificate as text."""
    return certificate.public_bytes(serialization.Encoding.PEM)


def private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A private key as text, not encrypted."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def public_pem(key: ec.EllipticCurvePublicKey) -> bytes:
    """A public key as text, in the form in which Flower knows a node by it."""
    return key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: int
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SLACK)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _host(name: str) -> x509.GeneralName:
    """An address as an address, anything else as a name.

    Raises:
        InputError: If it is no name of a host.
    """
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        pass
    try:
        return x509.DNSName(name)
    except ValueError as error:
        raise InputError(f"'{name}' is no name or address of a host ({error})") from error
