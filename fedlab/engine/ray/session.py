"""A session: Ray and its actors, shared by the runs of one process."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from typing import Protocol


class KeptActors(Protocol):
    """A pool of actors kept for the next run."""

    def end(self) -> None:
        """Ends the kept actors."""


class Session:
    """The cluster and the actors that are kept from one run to the next.

    Attributes:
        address: Address of the kept cluster; None is a local one.
        connected: Whether a cluster is kept.
        pool: The actors of the last run.
    """

    def __init__(self) -> None:
        self.address: str | None = None
        self.connected = False
        self.pool: KeptActors | None = None
        self._undo = ExitStack()

    def keep_cluster(self, address: str | None, disconnect: Callable[[], None]) -> None:
        """Keeps a connection to Ray until the session ends."""
        self.address, self.connected = address, True
        self._undo.callback(disconnect)

    def keep_actors(self, pool: KeptActors) -> None:
        """Keeps these actors, and ends those kept before, which occupy the same resources."""
        self.end_actors()
        self.pool = pool

    def end_actors(self) -> None:
        """Ends the actors kept for the next run."""
        if self.pool is not None:
            self.pool.end()

    def close(self) -> None:
        """Ends the actors and the kept connection."""
        self.end_actors()
        self.pool, self.connected = None, False
        self._undo.close()


_current: Session | None = None


def current() -> Session | None:
    """The active session of this process, or None."""
    return _current


def end_waiting_actors() -> None:
    """Ends the kept actors, to free the cluster's cores for other work."""
    if _current is not None:
        _current.end_actors()


@contextmanager
def session() -> Generator[None]:
    """Shares one Ray cluster and its actors, which take seconds to start, among the runs within.

    >>> with fedlab.session():
    ...     runs = [fedlab.simulate("smoke", seed=seed) for seed in range(5)]

    Results are the same as without it. Actors import your modules once: leave the session before
    you change their code. A session within another one has no effect.
    """
    global _current
    if _current is not None:
        yield
        return
    _current = mine = Session()
    try:
        yield
    finally:
        _current = None
        mine.close()
