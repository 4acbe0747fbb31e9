"""Ray actors of one size, which work for one run after another."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import ray
import ray.exceptions

from fedlab.engine.ray.actor import Actor
from fedlab.engine.ray.session import current


class ActorSize(NamedTuple):
    """What an actor occupies.

    Attributes:
        cpus: CPU cores.
        gpus: GPUs, or the share of one.
    """

    cpus: float
    gpus: float


class ActorPool:
    """Gives actors to a run, and takes back those that are still alive when it ends.

    Args:
        size: Of each of them.
        keep: Whether those that come back wait for the next run.
    """

    def __init__(self, size: ActorSize, keep: bool = False) -> None:
        self.size, self.keep = size, keep
        self._make = cast(Any, ray.remote(Actor)).options(
            num_cpus=size.cpus, num_gpus=size.gpus, max_restarts=0
        )
        self._waiting: list[Any] = []

    def take(self) -> Any:
        """An actor that waits, or else a new one, which starts meanwhile."""
        while self._waiting:
            actor = self._waiting.pop()
            try:
                ray.get(actor.rest.remote())
            except ray.exceptions.RayError:  # its machine was lost, or somebody wanted its memory
                continue
            return actor
        return self._make.remote()

    def give_back(self, actor: Any) -> None:
        """Takes back an actor that has nothing to do."""
        if self.keep:
            actor.rest.remote()
            self._waiting.append(actor)
        else:
            ray.kill(actor)

    def end(self) -> None:
        """Ends the actors that wait."""
        while self._waiting:
            ray.kill(self._waiting.pop())


def pool_of(size: ActorSize) -> ActorPool:
    """A pool for a run: that of the session, if there is one and its actors are as large."""
    kept = current()
    if kept is None:
        return ActorPool(size)
    if not isinstance(kept.pool, ActorPool) or kept.pool.size != size:
        kept.keep_actors(ActorPool(size, keep=True))
    assert isinstance(kept.pool, ActorPool)
    return kept.pool
