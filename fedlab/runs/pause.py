"""Pauses a run after a round, so that it can be resumed later."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedlab.federation.callbacks import RoundReport

if TYPE_CHECKING:
    from fedlab.federation.round_strategy import RoundStrategy


class Paused(Exception):  # noqa: N818 - no error
    """The run has reached the round to pause after; its checkpoint is written."""


class PauseAfter:
    """Observer that stops a run after a round, unless that is its last.

    Args:
        round: The round.
    """

    def __init__(self, round: int) -> None:
        self.round = round

    def on_start(self, strategy: RoundStrategy, first_round: int, rounds: int) -> None:
        """Pauses at once if the round is already done.

        Raises:
            Paused: Then.
        """
        if first_round > self.round and first_round <= rounds:
            raise Paused

    def on_round(self, strategy: RoundStrategy, report: RoundReport) -> None:
        """Pauses after the round.

        Raises:
            Paused: Then.
        """
        if report.round >= self.round and report.round < report.rounds:
            raise Paused

    def on_end(self, strategy: RoundStrategy) -> None:
        """Does nothing."""
