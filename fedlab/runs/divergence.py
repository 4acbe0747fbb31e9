"""Warnings about diverged training (NaN or infinite values)."""

from __future__ import annotations

import logging
import math

from fedlab.federation.callbacks import RoundReport
from fedlab.federation.round_strategy import RoundStrategy
from fedlab.federation.screening import NOT_FINITE, REMEDY
from fedlab.metrics.metric_set import LOSS

log = logging.getLogger("fedlab")

LOST = "all replies were late or never came (devices.deadline, devices.dropout)"


class DivergenceWarning:
    """Observer that warns once when clients' updates stop being finite, and again at the end.

    Such updates are left out of the mean, and the clients are named in ``failures.csv``. The run
    continues: a client may recover from the mean of the others, and diverged settings are a result
    in a comparison.
    """

    def __init__(self) -> None:
        self.warned = False
        self.fruitless: list[int] = []
        """Rounds in which no client's update was finite."""
        self.rounds = self.unused = 0
        """Rounds, and those of them in which no client's update was used."""
        self.failed = False
        """Whether any client has failed, or its update was refused."""

    def on_start(self, strategy: RoundStrategy, first_round: int, rounds: int) -> None:
        """Does nothing."""

    def on_round(self, strategy: RoundStrategy, report: RoundReport) -> None:
        """Checks the round's training losses and refused updates."""
        losses = {
            f"client {row.client}": row.value
            for row in report.rows
            if (row.split, row.metric) == ("train", LOSS)
        }
        left_out = [name for name, why in report.failures.items() if NOT_FINITE in why]
        lost = [*left_out, *(name for name, loss in losses.items() if not math.isfinite(loss))]
        self.rounds += 1
        self.failed |= bool(report.failures)
        self.unused += (bool(report.failures) or _lost_on_the_way(report)) and not losses
        if left_out and not losses:
            self.fruitless.append(report.round)
        if lost and not self.warned:
            self.warned = True
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
        """Warns of the number of rounds without any finite update."""
        if self.rounds and self.unused == self.rounds:
            log.warning(
                "no client's update was used in any of %d rounds, so that the model is the one it "
                "started from and the run is no result; %s",
                self.rounds,
                "failures.csv says why" if self.failed else LOST,
            )
        elif self.fruitless:
            log.warning(
                "in %d rounds, from round %d on, no client's update was finite and the model "
                "stayed as it was: what the run comes to is that of the other rounds",
                len(self.fruitless),
                self.fruitless[0],
            )


def _lost_on_the_way(report: RoundReport) -> bool:
    """Whether clients were asked on a virtual clock of which none was waited for."""
    return any(
        row.split == "round" and row.metric in ("late", "dropped") and row.value
        for row in report.rows
    )
