"""Why a device does not reach its server, in words that say what to do."""

from __future__ import annotations

import ssl
from datetime import datetime

import httpx

from fedlab.deploy.readable import NOT_LET_IN
from fedlab.errors import FedlabError, InputError
from fedlab.flower_compat.fleet_client import clock_difference, refusal

UNKNOWN_NODE = 2004
"""Flower's code for a node that may not be activated."""

TOLERATED_SECONDS = 300
"""By how much a device's clock may differ from the server's before it is shut out."""

NOT_READY = (500, 502, 503, 504)
"""HTTP statuses of a server or proxy that is temporarily unavailable."""

NOT_YET_VALID, EXPIRED, HOST_MISMATCH, ADDRESS_MISMATCH = 9, 10, 62, 64
"""OpenSSL's codes."""


class UnreachableError(FedlabError):
    """The server cannot be reached now, which may change."""


def explain(error: Exception, address: str, name: str = "") -> InputError | UnreachableError:
    """What an error of the connection means: one to give up for, or one to try again after.

    Args:
        error: What the connection has raised.
        address: The server's.
        name: The device's, where the error came when it wanted to be let in.
    """
    refused = _untrusted(error, address)
    if refused is not None:
        return refused
    if isinstance(error, httpx.HTTPStatusError):
        return _answered(error, address, name)
    if isinstance(error, httpx.DecodingError) and name:
        return _no_fedlab(address, "with something else")
    reason = str(error) or type(error).__name__
    return UnreachableError(f"no connection with {address} ({reason})")


def _answered(
    error: httpx.HTTPStatusError, address: str, name: str
) -> InputError | UnreachableError:
    status, answer = error.response.status_code, refusal(error)
    if not name:
        return UnreachableError(f"{address} does not know this device any more (status {status})")
    if status in NOT_READY:
        return UnreachableError(f"{address} is not ready (status {status})")
    ahead = clock_difference(error)
    if (
        status == int(httpx.codes.UNAUTHORIZED)
        and ahead is not None
        and abs(ahead) > TOLERATED_SECONDS
    ):
        side = "fast" if ahead > 0 else "slow"
        return InputError(
            f"this device's clock is {abs(ahead) / 60:.0f} minutes {side} by the server's, which "
            "therefore refuses its signature; set the clock, e.g. `timedatectl set-ntp true`"
        )
    if answer.get("code") == UNKNOWN_NODE or answer.get("detail") == NOT_LET_IN:
        return InputError(
            f"{address} does not let '{name}' in: its key was never added there, was revoked, or "
            "is in use by another process (a killed one is forgotten after 20 seconds); on the "
            "server, look at `fedlab keys list`, and add the device with `fedlab keys add`"
        )
    return _no_fedlab(address, f"status {status}")


def _no_fedlab(address: str, how: str) -> InputError:
    return InputError(
        f"{address} answers, but not as a fedlab server does ({how}); correct the address, or "
        "install the same version of fedlab on both sides"
    )


def _untrusted(error: Exception, address: str) -> InputError | None:
    """What is wrong with the server's certificate, if that is the trouble."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLError):
        cause = cause.__cause__ or cause.__context__
    if cause is None:
        return None
    if not isinstance(cause, ssl.SSLCertVerificationError):
        if "WRONG_VERSION_NUMBER" in str(cause) or "record layer failure" in str(cause):
            return InputError(
                f"{address} speaks in the clear; start the server with keys, or join with "
                "--insecure and without --key"
            )
        return None
    if cause.verify_code in (NOT_YET_VALID, EXPIRED):
        state = "is not valid yet" if cause.verify_code == NOT_YET_VALID else "has expired"
        return InputError(
            f"the certificate of {address} {state} by this device's clock, which says "
            f"{datetime.now():%Y-%m-%d %H:%M}; set the clock if that is wrong, or else renew the "
            "certificate on the server with `fedlab keys init`"
        )
    if cause.verify_code in (HOST_MISMATCH, ADDRESS_MISMATCH):
        host = address.rpartition(":")[0]
        return InputError(
            f"the certificate of {address} is for other names ({cause.verify_message}); on the "
            f"server, make one for this name with `fedlab keys init {host}`"
        )
    return InputError(
        f"{address} is not the server that this device's key was made for: its certificate is of "
        f"another authority ({cause.verify_message}); correct the address, or take a key that was "
        "made with `fedlab keys add` on that server"
    )
