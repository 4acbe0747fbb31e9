"""Observers of a run and the report that they get after every round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from fedlab.federation.round_strategy import RoundStrategy
from fedlab.row import CountRow, Row


@dataclass(frozen=True)
class RoundReport:
    """What happened in one round.

    Attributes:
        round: The round, from 1.
        rounds: Number of rounds of the run.
        rows: The round's rows, which are reproducible.
        seconds: Wall-clock seconds by phase (``ask``, ``train``, ``aggregate``, ``evaluate``).
        failures: Name of the node -> reason, for clients that gave no update.
        counts: What metrics have counted in the round's tests and is kept.
        concludes: Whether no round was trained: the model of this round was chosen, and is tested
            after the last one.
    """

    round: int
    rounds: int
    rows: Sequence[Row]
    seconds: dict[str, float]
    failures: dict[str, str] = field(default_factory=dict[str, str])
    counts: Sequence[CountRow] = ()
    concludes: bool = False


class Callback(Protocol):
    """An observer of a run."""

    def on_start(self, strategy: RoundStrategy, first_round: int, rounds: int) -> None:
        """Called once, before round `first_round`, which is above 1 when a run resumes."""

    def on_round(self, strategy: RoundStrategy, report: RoundReport) -> None:
        """Called after every round; may raise `StopIteration` to end the run after it."""

    def on_end(self, strategy: RoundStrategy) -> None:
        """Called once after the last round; not called when the run fails."""
