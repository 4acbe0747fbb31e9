"""Stopping a run after a round, to go on with it later or never."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedlab.federation.callbacks import RoundReport

if TYPE_CHECKING:
    from fedlab.federation.round_strategy import RoundStrategy


class Paused(Exception):  # noqa: N818 - no error
    """The run has come to where it was to stop; its checkpoint is written."""


class PauseAfter:
    """Observer that stops a run after a round, unless that is its last.

    Args:
        round: The round.
    """

    def __init__(self, round: int) -> None:
        self.round = round

    def on_start(self, strategy: RoundStrategy, first_round: int, rounds: int) -> None:
        """Stops at once where the round is over already.

        Raises:
            Paused: Then.
        """
        if first_round > self.round and first_round <= rounds:
            raise Paused

    def on_round(self, strategy: RoundStrategy, report: RoundReport) -> None:
        """Stops after the round.

        Raises:
            Paused: Then.
        """
        if report.round >= self.round and report.round < report.rounds:
            raise Paused

    def on_end(self, strategy: RoundStrategy) -> None:
        """Nothing is left to stop."""
