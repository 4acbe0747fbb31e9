"""What a server waits for, in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fedlab.deploy.readable import LONGEST_NAME, shown
from fedlab.deploy.server.device_registry import DeviceRegistry
from fedlab.report.units import duration

SHOWN = 5
"""Number of names in one line; more are counted."""


def for_devices(devices: DeviceRegistry) -> str:
    """Which devices a run still needs before it begins.

    Args:
        devices: The registry of the run's devices.
    """
    here, clients = devices.connected(), len(devices.homes)
    if devices.seats:
        missing = sorted(name for name in devices.seats if name not in here)
        text = f"waiting for {_listed(missing)} to come back"
    else:
        text = f"waiting for {clients - len(here)} more of {clients} device{'s' * (clients > 1)}"
    parts = [text, f"here: {_listed(sorted(here))}" if here else "none is here"]
    if reading := devices.reading():
        parts.append(f"{reading} more connected and reading samples")
    refused = sorted(name for name in devices.refused() if name not in here)
    if refused:
        parts.append(f"refused, see above: {_listed(refused)}")
    return "; ".join(parts)


def for_replies(silent: Iterable[tuple[str, bool]], answered: int, left: float) -> str:
    """Which devices a round is waiting for.

    Args:
        silent: Names of the devices that have not answered, and whether they are connected.
        answered: Number of replies so far.
        left: Seconds until the round ends without them.
    """
    names: dict[bool, list[str]] = {True: [], False: []}
    for name, connected in silent:
        names[connected].append(name)
    count = len(names[True]) + len(names[False])
    parts = [f"waiting for {count} of {count + answered} replies"]
    if names[True]:
        parts.append(f"at work: {_listed(names[True])}")
    if names[False]:
        parts.append(f"not connected: {_listed(names[False])}")
    parts.append(f"without them the round ends in {duration(max(left, 0))}")
    return "; ".join(parts)


def _listed(names: Sequence[str]) -> str:
    text = ", ".join(f"'{shown(name, 2 * LONGEST_NAME)}'" for name in names[:SHOWN])
    return f"{text} and {len(names) - SHOWN} more" if len(names) > SHOWN else text
