"""Every random number of a run, keyed on (seed, purpose, ...) alone.

Generators are never shared: code that needs random numbers makes its own generator, by naming the
purpose. Results therefore do not depend on the order in which clients
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

from fedlab import accelerator


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
    """A new NumPy generator for one purpose (see `seed_of`)."""
    return np.random.default_rng(seed_of(seed, purpose, *key))


def uniforms(seed: int, purpose: str, keys: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Uniform numbers of many streams at once, where a generator for each would be too slow.

    Each key has its own stream, independent of which other keys are drawn. SplitMix64: Steele, Lea
    and Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014.

    Args:
        seed: The scenario's seed.
        purpose: What the randomness is for.
        keys: Whose stream a number is of, e.g. the client, int64 of shape (n,), not negative.
        places: Which number of that stream it is, from 0, int64 of shape (n,).

    Returns:
        float64 in [0, 1) of shape (n,).
    """
    begin = np.full(len(keys), seed_of(seed, purpose), np.uint64)
    streams = _mixed(begin + _STEP * (keys + 1).astype(np.uint64))
    numbers = _mixed(streams + _STEP * (places + 1).astype(np.uint64))
    return (numbers >> np.uint64(11)) * 2.0**-53


def _mixed(state: np.ndarray) -> np.ndarray:
    """The output function of SplitMix64, uint64 of the same shape."""
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def torch_generator(seed: int, purpose: str, *key: int | str) -> torch.Generator:
    """A new PyTorch generator for one purpose (see `seed_of`).

    It is a CPU generator on every device, so that all devices draw the same numbers.
    """
    return torch.Generator().manual_seed(seed_of(seed, purpose, *key))


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
    each round; the caller wraps the whole of it into `preserved`. One thread at a time is in
    such a block: two runs in one process wait for each other, and draw what each would draw alone.
    """
    with _ONE_AT_A_TIME:
        value = seed_of(seed, purpose, *key)
        torch.default_generator.manual_seed(value)  # torch.manual_seed formats a stack trace
        accelerator.seed(value)
        random.seed(value)
        np.random.seed(value % 2**32)
        yield


def going_on() -> torch.Generator:
    """A new generator that draws what PyTorch's global one would draw next."""
    generator = torch.Generator()
    generator.set_state(torch.default_generator.get_state())
    return generator


@contextmanager
def preserved() -> Generator[None]:
    """Puts the process's global generators back after a block."""
    with _ONE_AT_A_TIME:
        of_python, of_numpy = random.getstate(), np.random.get_state()
        of_torch, of_devices = torch.default_generator.get_state(), accelerator.generator_states()
    try:
        yield
    finally:
        with _ONE_AT_A_TIME:  # or another thread's block would go on with these
            random.setstate(of_python)
            np.random.set_state(of_numpy)
            torch.default_generator.set_state(of_torch)
            accelerator.restore_generators(of_devices)


_ONE_AT_A_TIME = threading.RLock()
_STEP = np.uint64(0x9E3779B97F4A7C15)  # the golden ratio, as SplitMix64 counts
