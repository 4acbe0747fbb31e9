"""A scenario as its own blocks see it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, Self


class Experiment(Protocol):
    """What a block of a scenario may ask of the whole; `fedlab.scenario.Scenario` is one.

    The blocks are typed there. Here they are not, since a scenario is made of them: a method's
    parameters, for one, are checked against the whole that they are a part of.
    """

    name: str
    seed: int
    rounds: int
    data: Any
    partition: Any
    model: Any
    strategy: Any
    training: Any
    participation: Any
    evaluation: Any
    devices: Any
    engine: Any
    resources: Any
    privacy: Any
    updates: Any

    @property
    def cohort_size(self) -> int:
        """Clients that are drawn for a round."""
        ...

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """The same with other values."""
        ...

    def model_dump(self, *, mode: str = "python") -> dict[str, Any]:
        """Plain values of everything that it says."""
        ...
