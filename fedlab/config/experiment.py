"""The interface of a scenario for its own blocks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, Self


class Experiment(Protocol):
    """The members of `fedlab.scenario.Scenario` that its blocks use in their checks.

    Blocks have no types here, which avoids import circles: a method's parameters are a part of the
    scenario against which they are checked.
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
        """Number of clients that are drawn for a round."""
        ...

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy with other values."""
        ...

    def model_dump(self, *, mode: str = "python") -> dict[str, Any]:
        """All values as plain Python objects."""
        ...
