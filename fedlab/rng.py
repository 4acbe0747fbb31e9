"""Every random number of a run, keyed on (seed, purpose, ...) and on nothing else.

A generator is never shared and never advanced by someone else: whoever needs randomness asks for
its own by naming what it is for. Results therefore do not depend on the order in which clients
run, on the number of processes, or on whether the run was interrupted.
"""

from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Generator
from contextlib import contextmanager

import numpy as np
import torch


def seed_of(seed: int, purpose: str, *key: int | str) -> int:
    """Derives an independent 63-bit seed.

    Args:
        seed: The scenario's seed.
        purpose: What the randomness is for, e.g. ``"cohort"`` or ``"order"``.
        *key: Further values that distinguish this use from others, e.g. the client and the round.

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
def torch_seed(seed: int, purpose: str, *key: int | str) -> Generator[None]:
    """Seeds the process's global generators for a block and puts them back afterwards.

    For code that takes no generator, such as the initialisation of a network. PyTorch's generators
    are seeded, and NumPy's and Python's as well: a user's network may draw from any.
    """
    with _ONE_AT_A_TIME, preserved(), seeded(seed, purpose, *key):
        yield


@contextmanager
def seeded(seed: int, purpose: str, *key: int | str) -> Generator[None]:
    """Seeds the process's global generators for a block and leaves them as the block did.

    As `torch_seed`, without the price of putting states back, for what is done for each client of
    each round; whoever runs the whole of it wraps that into `preserved`. One thread at a time is in
    such a block: two runs in one process wait for each other, and draw what each would draw alone.
    """
    with _ONE_AT_A_TIME:
        value = seed_of(seed, purpose, *key)
        torch.default_generator.manual_seed(value)  # torch.manual_seed formats a stack trace
        if torch.cuda.is_initialized():
            torch.cuda.manual_seed_all(value)
        random.seed(value)
        np.random.seed(value % 2**32)
        yield


@contextmanager
def preserved() -> Generator[None]:
    """Puts the process's global generators back after a block."""
    with _ONE_AT_A_TIME:
        of_python, of_numpy, of_torch = random.getstate(), np.random.get_state(), _torch_states()
    try:
        yield
    finally:
        with _ONE_AT_A_TIME:  # or another thread's block would go on with these
            random.setstate(of_python)
            np.random.set_state(of_numpy)
            for generator, state in of_torch:
                generator.set_state(state)


def _torch_states() -> list[tuple[torch.Generator, torch.Tensor]]:
    generators = [torch.default_generator]
    if torch.cuda.is_initialized():
        generators += torch.cuda.default_generators
    return [(generator, generator.get_state()) for generator in generators]


_ONE_AT_A_TIME = threading.RLock()
