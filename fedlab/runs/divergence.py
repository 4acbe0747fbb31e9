"""A word on training that has left the numbers."""

from __future__ import annotations

import logging
import math

from fedlab.federation.callbacks import RoundReport
from fedlab.federation.round_strategy import RoundStrategy
from fedlab.federation.screening import NOT_FINITE, REMEDY
from fedlab.metrics.metric_set import LOSS

log = logging.getLogger("fedlab")


class DivergenceWarning:
    """Observer that warns, once, when what clients learn stops being finite, and tells at the end.

    Their updates are left out of the mean, which stays finite for everybody else, and each of them
    is named in ``failures.csv``. The run goes on: a client may recover where others hold the mean,
    and a comparison wants to know what a setting comes to.
    """

    def __init__(self) -> None:
        self.told = False
        self.fruitless: list[int] = []
        """Rounds in which nobody's update was finite."""

    def on_start(self, strategy: RoundStrategy, first_round: int, rounds: int) -> None:
        """There is nothing to warn of yet."""

    def on_round(self, strategy: RoundStrategy, report: RoundReport) -> None:
        """Looks at the round's training losses, and at the updates that were left out."""
        losses = {
            f"client {row.client}": row.value
            for row in report.rows
            if (row.split, row.metric) == ("train", LOSS)
        }
        left_out = [name for name, why in report.failures.items() if NOT_FINITE in why]
        lost = [*left_out, *(name for name, loss in losses.items() if not math.isfinite(loss))]
        if left_out and not losses:
            self.fruitless.append(report.round)
        if lost and not self.told:
            self.told = True
            log.warning(
                "round %d: training has left the numbers for %d of %d clients (%s, for one), and "
                "what they learn is lost; %s",
                report.round,
                len(lost),
                len(losses) + len(left_out),
                lost[0],
                REMEDY,
            )

    def on_end(self, strategy: RoundStrategy) -> None:
        """Tells how often the model could not learn from anybody."""
        if self.fruitless:
            log.warning(
                "in %d rounds, from round %d on, no client's update was finite and the model "
                "stayed as it was: what the run comes to is that of the other rounds",
                len(self.fruitless),
                self.fruitless[0],
            )
