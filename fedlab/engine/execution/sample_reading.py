"""Clients' samples where these are in files: a few are kept, and those to come are read ahead.

Of samples in memory the last clients' are kept (`functools.lru_cache`), and there is nothing to
read. Files may hold more than the memory does, and the machine keeps their pages anyway.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

import numpy as np

KEPT_BYTES = 2**28
"""Bytes of clients' samples that a process keeps between rounds."""

AHEAD_BYTES = 2**28
"""Bytes that are read ahead; of one client they may be more."""

Made = TypeVar("Made")


class LastUsed(Generic[Made]):
    """What is made of clients' samples: the last used ones stay as far as they fit.

    Args:
        make: Makes it for a client.
        size: Bytes of a client's.
    """

    def __init__(self, make: Callable[[int], Made], size: Callable[[int], int]) -> None:
        self._make = make
        self._size = size
        self._kept = OrderedDict[int, Made]()

    def __call__(self, client: int) -> Made:
        """What was made for a client, or is made now."""
        made = self._kept.pop(client) if client in self._kept else self._make(client)
        self._kept[client] = made
        while len(self._kept) > 1 and sum(map(self._size, self._kept)) > KEPT_BYTES:
            self._kept.popitem(last=False)
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
