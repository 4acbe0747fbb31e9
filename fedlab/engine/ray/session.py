"""What runs in one process leave to each other: Ray, and actors that are ready to work."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from typing import Protocol


class Pool(Protocol):
    """Actors that may wait for the next run."""

    def end(self) -> None:
        """Ends those that wait."""


class Session:
    """What is kept from one run to the next.

    Attributes:
        address: Of the cluster that is kept; None is one of this machine.
        connected: Whether there is one.
        pool: The actors of the last run.
    """

    def __init__(self) -> None:
        self.address: str | None = None
        self.connected = False
        self.pool: Pool | None = None
        self._undo = ExitStack()

    def keep_cluster(self, address: str | None, disconnect: Callable[[], None]) -> None:
        """Keeps a connection to Ray until the session ends."""
        self.address, self.connected = address, True
        self._undo.callback(disconnect)

    def keep_actors(self, pool: Pool) -> None:
        """Keeps these actors, and ends those that it kept before, which would be in their way."""
        self.end_actors()
        self.pool = pool

    def end_actors(self) -> None:
        """Ends the actors that wait for the next run."""
        if self.pool is not None:
            self.pool.end()

    def close(self) -> None:
        """Ends the actors, and the connection that is kept."""
        self.end_actors()
        self.pool, self.connected = None, False
        self._undo.close()


_current: Session | None = None


def current() -> Session | None:
    """The session that this process is in, if any."""
    return _current


def end_waiting_actors() -> None:
    """Makes room for whoever needs the cluster's cores for something else than the next run."""
    if _current is not None:
        _current.end_actors()


@contextmanager
def session() -> Generator[None]:
    """Lets the runs within share one Ray and its actors, which take seconds to start.

    >>> with fedlab.session():
    ...     runs = [fedlab.simulate("smoke", seed=seed) for seed in range(5)]

    Results do not change by it. Actors import a module of yours once: leave the session before you
    change its code. A session within another is a part of that one.
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
