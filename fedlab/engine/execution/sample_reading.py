"""Clients' samples on their device: the last used ones are kept, and those to come are read ahead.

Kept by bytes, not by number: a thousand small clients fit, of large ones a few. Where samples are
in files the machine keeps their pages anyway.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, Protocol, TypeVar

import numpy as np

KEPT_BYTES = 2**28
"""Bytes of clients' samples that a process keeps between rounds, of each kind of them."""

AHEAD_BYTES = 2**28
"""Bytes that are read ahead; of one client they may be more."""

OBJECTS = 2**12
"""Bytes that the Python objects of one client's samples take, beside their tensors."""


class HasBytes(Protocol):
    """Samples that know their size."""

    @property
    def nbytes(self) -> int:
        """Bytes of their tensors."""
        ...


Made = TypeVar("Made", bound=HasBytes)


class LastUsed(Generic[Made]):
    """What is made of clients' samples: the last used ones stay as far as they fit.

    Args:
        make: Makes it for a client.
    """

    def __init__(self, make: Callable[[int], Made]) -> None:
        self._make = make
        self._kept = OrderedDict[int, Made]()
        self._bytes = 0

    def __call__(self, client: int) -> Made:
        """What was made for a client, or is made now."""
        if client in self._kept:
            self._kept.move_to_end(client)
            return self._kept[client]
        made = self._kept[client] = self._make(client)
        self._bytes += made.nbytes + OBJECTS
        while len(self._kept) > 1 and self._bytes > KEPT_BYTES:
            _, unused = self._kept.popitem(last=False)
            self._bytes -= unused.nbytes + OBJECTS
        return made

    def __contains__(self, client: int) -> bool:
        return client in self._kept


class ReadAhead:
    """Reads clients' samples in a thread, while those before them train.

    What is read is the same, and so are errors: they are raised when the samples are taken.

    Args:
        read: Reads a client's inputs, of shape (n, ...).
        size: Bytes of a client's.
    """

    def __init__(self, read: Callable[[int], np.ndarray], size: Callable[[int], int]) -> None:
        self._read = read
        self._size = size
        self._thread = ThreadPoolExecutor(1, "fedlab-read-ahead")
        self._coming = deque[int]()
        self._begun: dict[int, Future[np.ndarray]] = {}

    def expect(self, clients: Sequence[int]) -> None:
        """Says which clients will be asked for, in their order; others are no longer read."""
        for client in self._begun.keys() - set(clients):
            self._begun.pop(client).cancel()
        self._coming = deque(client for client in clients if client not in self._begun)
        self._begin()

    def take(self, client: int) -> np.ndarray:
        """A client's inputs, which are read now if they have not been read ahead."""
        if client in self._coming:
            self._coming.remove(client)
        begun = self._begun.pop(client, None)
        self._begin()
        return self._read(client) if begun is None else begun.result()

    def _begin(self) -> None:
        """Begins to read those to come, as many as fit."""
        taken = sum(map(self._size, self._begun))
        while self._coming and (
            not self._begun or taken + self._size(self._coming[0]) <= AHEAD_BYTES
        ):
            client = self._coming.popleft()
            taken += self._size(client)
            self._begun[client] = self._thread.submit(self._read, client)
