"""Every random number of a run, keyed on (seed, purpose, ...) and on nothing else.

A generator is never shared and never advanced by someone else: whoever needs randomness asks for
its own by naming what it is for. Results therefore do not depend on the order in which clients
run, on the number of processes, or on whether the run was interrupted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def seed_of(seed: int, purpose: str, *key: int | str) -> int:
    """Derives an independent 63-bit seed.

    Args:
        seed: The scenario's seed.
        purpose: What the randomness is for, e.g. ``"cohort"`` or ``"order"``.
        *key: Whatever else tells this use from others, e.g. the client and the round.

    Returns:
        A number in [0, 2**63), the same on every machine and in every process.
    """
    text = "\x1f".join([str(seed), purpose, *map(str, key)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def generator(seed: int, purpose: str, *key: int | str) -> np.random.Generator:
    """A NumPy generator of its own for one purpose (see `seed_of`)."""
    return np.random.default_rng(seed_of(seed, purpose, *key))


def torch_generator(
    seed: int, purpose: str, *key: int | str, device: torch.device | str = "cpu"
) -> torch.Generator:
    """A PyTorch generator of its own for one purpose (see `seed_of`), on `device`."""
    return torch.Generator(device=device).manual_seed(seed_of(seed, purpose, *key))


@contextmanager
def torch_seed(seed: int, purpose: str, *key: int | str) -> Iterator[None]:
    """Seeds PyTorch's global generators for a block and restores them afterwards.

    For library code that takes no generator: weight initialisation and dropout.
    """
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=devices):
        value = seed_of(seed, purpose, *key)
        torch.default_generator.manual_seed(value)  # torch.manual_seed formats a stack trace
        if devices:
            torch.cuda.manual_seed_all(value)
        yield
