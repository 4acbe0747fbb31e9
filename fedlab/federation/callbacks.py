"""What a run tells its observers after every round, and how they listen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from fedlab.strategies.base import Strategy

GLOBAL = -1
"""The `client` of a row that is about the global model and not about one client."""


@dataclass(frozen=True)
class Row:
    """One number of the history.

    Attributes:
        round: Round, from 1; 0 is before training.
        client: Client index, or `GLOBAL`.
        domain: Name of the domain that was measured; empty where domains do not matter.
        split: ``train``, ``test``, ``round`` (numbers of the round as a whole) or ``device`` (a
            client's round on the virtual clock).
        metric: ``loss``, ``accuracy``, ``bytes_up``, ``bytes_down``, ``steps``, ``failed``,
            ``virtual_seconds``, ``late``, ``dropped`` ...
        value: The number.
        examples: Samples behind it (0 where it is not about samples).
    """

    round: int
    client: int
    domain: str
    split: str
    metric: str
    value: float
    examples: int


@dataclass(frozen=True)
class RoundReport:
    """What happened in one round.

    Attributes:
        round: The round, from 1.
        rounds: How many there will be.
        rows: The round's rows; everything in them is reproducible.
        seconds: Wall-clock seconds by phase (``ask``, ``train``, ``aggregate``, ``evaluate``),
            which are not.
        failures: Name of the node -> reason, for clients that gave no update.
    """

    round: int
    rounds: int
    rows: Sequence[Row]
    seconds: dict[str, float]
    failures: dict[str, str] = field(default_factory=dict)


class Callback(Protocol):
    """An observer of a run."""

    def on_start(self, strategy: Strategy, first_round: int, rounds: int) -> None:
        """Called once, before round `first_round` (which is not 1 when a run resumes)."""

    def on_round(self, strategy: Strategy, report: RoundReport) -> None:
        """Called after every round; may raise `StopIteration` to end the run after it."""

    def on_end(self, strategy: Strategy) -> None:
        """Called once after the last round; not called when the run fails."""
