"""A work unit on its way to an actor and back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import ray

from fedlab.engine.work_units import WorkUnit


@dataclass
class Dispatch:
    """A work unit that was sent to an actor.

    Attributes:
        unit: The messages.
        content: Their shared content.
        died: Number of actors that died while processing it.
        last: Whether it is not sent again if another actor dies.
        as_objects: Whether clients' states are returned as separate objects.
        outputs: References to the actor's return values.
    """

    unit: WorkUnit
    content: ray.ObjectRef[Any]
    died: int = 0
    last: bool = False
    as_objects: bool = True
    outputs: list[ray.ObjectRef[Any]] = field(default_factory=list)

    def again(self) -> list[Dispatch]:
        """The work units to send after the actor died; empty to give up.

        Work units of one client, so that a client that kills its actor affects no other. A stack
        is first repeated once as it was, as its clients' results depend on it by rounding.
        """
        self.died += 1
        if self.unit.together and self.died == 1:
            return [self]
        if self.last:
            return []
        return [Dispatch(one, self.content, self.died, last=True) for one in self.unit.split()]
