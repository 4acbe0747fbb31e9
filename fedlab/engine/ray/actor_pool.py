"""A pool of Ray actors of one size, which can be reused by later runs."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import ray
import ray.exceptions

from fedlab.engine.ray.actor import Actor
from fedlab.engine.ray.session import current


class ActorSize(NamedTuple):
    """Resources of an actor.

    Attributes:
        cpus: CPU cores.
        gpus: GPUs, or the share of one.
    """

    cpus: float
    gpus: float


class ActorPool:
    """Provides actors to a run, and takes living ones back at its end.

    Args:
        size: Size of each actor.
        keep: Whether returned actors are kept for the next run.
    """

    def __init__(self, size: ActorSize, keep: bool = False) -> None:
        self.size, self.keep = size, keep
        self._make = cast(Any, ray.remote(Actor)).options(
            num_cpus=size.cpus, num_gpus=size.gpus, max_restarts=0
        )
        self._waiting: list[Any] = []

    def take(self) -> Any:
        """A kept actor, or a new one, which starts in the background."""
        while self._waiting:
            actor = self._waiting.pop()
            try:
                ray.get(actor.rest.remote())
            except ray.exceptions.RayError:  # its machine was lost, or it ran out of memory
                continue
            return actor
        return self._make.remote()

    def give_back(self, actor: Any) -> None:
        """Takes back an idle actor."""
        if self.keep:
            actor.rest.remote()
            self._waiting.append(actor)
        else:
            ray.kill(actor)

    def end(self) -> None:
        """Ends the kept actors."""
        while self._waiting:
            ray.kill(self._waiting.pop())


def pool_of(size: ActorSize) -> ActorPool:
    """A pool for a run; within a session, the session's pool, replaced if the size differs."""
    kept = current()
    if kept is None:
        return ActorPool(size)
    if not isinstance(kept.pool, ActorPool) or kept.pool.size != size:
        kept.keep_actors(ActorPool(size, keep=True))
    assert isinstance(kept.pool, ActorPool)
    return kept.pool
