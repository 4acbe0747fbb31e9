"""A connection to Ray: a cluster of our own, or one that is already there."""

from __future__ import annotations

import logging
from collections.abc import Callable

import ray

from fedlab.engine.resources import Hardware
from fedlab.errors import InputError


def connect(address: str | None) -> tuple[Hardware, Callable[[], None]]:
    """Connects this process to Ray.

    Args:
        address: Address of a running cluster (``auto`` finds it); None starts one on this
            machine, unless this process is connected already.

    Returns:
        What the cluster has, and a function that undoes the connection (and nothing, if it was
        there before).

    Raises:
        InputError: If there is no cluster at that address.
    """
    if ray.is_initialized():
        return _hardware(), lambda: None
    try:
        ray.init(
            address=address or "local",
            include_dashboard=None if address else False,
            logging_level=logging.ERROR,
            log_to_driver=False,
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise InputError(
            f"resources.address: cannot reach a Ray cluster at '{address}': {error}; "
            "start one with `ray start --head`, or leave the address out"
        ) from error
    return _hardware(), ray.shutdown


def _hardware() -> Hardware:
    total = ray.cluster_resources()
    return Hardware(total.get("CPU", 0), total.get("GPU", 0), where="the Ray cluster")
