"""Connects to Ray: starts a local cluster, or uses a running one."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

import grpc
import ray

from fedlab.engine.ray import session
from fedlab.engine.ray.resources import Hardware
from fedlab.errors import InputError, RunError

ANSWER_SECONDS = 10.0
"""Timeout for a cluster's answer, in seconds."""


def connect(address: str | None) -> tuple[Hardware, Callable[[], None]]:
    """Connects this process to Ray.

    Args:
        address: Address of a running cluster (``auto`` finds it); None starts one on this
            machine, unless this process is connected already.

    Returns:
        The cluster's hardware, and a function that disconnects (and does nothing if the connection
        existed before, or belongs to a session).

    Raises:
        InputError: If there is no cluster at that address.
        RunError: If none can be started here.
    """
    kept = session.current()
    if kept is not None and kept.connected and kept.address != address:
        kept.close()
    if ray.is_initialized():
        return _hardware(), lambda: None
    if address:
        refuse_unreachable(address)
    try:
        ray.init(
            address=address or "local",
            include_dashboard=None if address else False,
            logging_level=logging.ERROR,
            log_to_driver=False,
        )
    except Exception as error:  # on a machine that is too busy, Ray raises a bare Exception
        if address is None:
            raise RunError(
                f"Ray cannot start on this machine: {str(error).rstrip('.')}; run without it by "
                "resources.backend=local"
            ) from error
        raise _unreachable(address, str(error).partition("\n")[0].rstrip(".")) from error
    if kept is not None:
        kept.keep_cluster(address, ray.shutdown)
        return _hardware(), lambda: None
    return _hardware(), ray.shutdown


def refuse_unreachable(address: str) -> None:
    """Refuses an address without a server; Ray itself would retry for a quarter of an hour.

    Args:
        address: ``host:port`` is checked; any other form is left to Ray.

    Raises:
        InputError: If no server answers there.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or "/" in host or _is_encrypted():
        return
    channel = grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)])
    try:
        grpc.channel_ready_future(channel).result(timeout=ANSWER_SECONDS)
    except grpc.FutureTimeoutError as error:
        raise _unreachable(address, f"no answer in {ANSWER_SECONDS:g} s") from error
    finally:
        channel.close()


def _is_encrypted() -> bool:
    return os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true")


def _unreachable(address: str, reason: str) -> InputError:
    return InputError(
        f"resources.address: there is no Ray cluster at '{address}' ({reason}); start one with "
        "`ray start --head` and give the address it prints, or leave resources.address out"
    )


def _hardware() -> Hardware:
    total = ray.cluster_resources()
    return Hardware(total.get("CPU", 0), total.get("GPU", 0), where="the Ray cluster")
