"""Held-out clients, which are never trained: drawn from all, to be tested with the model."""

from __future__ import annotations

import numpy as np

from fedlab.rng import generator

HeldOut = float | tuple[int, ...]
"""What a scenario says of them: their share of all clients, or their indices."""


def check_held_out(wanted: HeldOut, clients: int) -> None:
    """Refuses a share or indices that name no client, or leave none to train.

    Raises:
        ValueError: With the remedy.
    """
    if isinstance(wanted, float | int):
        count = round(wanted * clients)
        if not 0 < wanted < 1 or not 1 <= count < clients:
            raise ValueError(
                f"held_out_clients {wanted:g} of {clients} clients holds out "
                f"{max(count, 0)} and leaves {max(clients - count, 0)} to train; there must be at "
                "least one of each: give a share such as 0.2, or a list of clients such as [1]"
            )
        return
    strange = [client for client in wanted if not 0 <= client < clients]
    if strange:
        raise ValueError(
            f"held_out_clients: there is no client {strange[0]}; clients are 0 to {clients - 1}"
        )
    if not wanted or len(set(wanted)) < len(wanted):
        raise ValueError(
            "held_out_clients: name each client once and at least one, or leave the key out"
        )
    if len(wanted) == clients:
        raise ValueError(
            f"held_out_clients: all {clients} clients are held out and none is left to train; "
            "name fewer"
        )


def count_held_out(wanted: HeldOut | None, clients: int) -> int:
    """The number of held-out clients."""
    if wanted is None:
        return 0
    return round(wanted * clients) if isinstance(wanted, float | int) else len(wanted)


def draw_held_out(wanted: HeldOut | None, clients: int, seed: int) -> np.ndarray:
    """The indices of held-out clients, ascending, int64 of shape (held out,).

    Args:
        wanted: A share of the clients, of which so many are drawn without replacement, or indices.
        clients: How many clients there are.
        seed: The scenario's seed.
    """
    if isinstance(wanted, tuple):
        return np.array(sorted(wanted), dtype=np.int64)
    drawing = generator(seed, "partition", "held-out clients")
    size = count_held_out(wanted, clients)
    return np.sort(drawing.choice(clients, size=size, replace=False)).astype(np.int64)
