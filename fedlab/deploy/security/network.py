"""Where it is safe to speak in the clear."""

from __future__ import annotations

import ipaddress

from fedlab.errors import InputError


def refuse_open_network(host: str, forced: bool) -> None:
    """Refuses to speak in the clear with the network.

    Raises:
        InputError: If the host is not this machine's loopback and `forced` is False.
    """
    if host == "localhost" or forced:
        return
    try:
        here = ipaddress.ip_address(host).is_loopback
    except ValueError:
        here = False
    if not here:
        raise InputError(
            f"--insecure: any machine on the way to {host} could read the models and take part; "
            "make keys with `fedlab keys init`, stay on 127.0.0.1, or add --force if the network "
            "itself is safe"
        )
