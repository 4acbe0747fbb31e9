"""A word on training that has left the numbers."""

from __future__ import annotations

import logging
import math

from fedlab.strategies.base import Strategy
from fedlab.strategies.callbacks import RoundReport

log = logging.getLogger("fedlab")


class DivergenceWarning:
    """Observer that warns, once, when clients' training losses stop being finite.

    The run goes on: one client may recover where others hold the mean, and a comparison wants to
    know what a setting comes to.
    """

    def __init__(self) -> None:
        self.told = False

    def on_start(self, strategy: Strategy, first_round: int, rounds: int) -> None:
        """There is nothing to warn of yet."""

    def on_round(self, strategy: Strategy, report: RoundReport) -> None:
        """Looks at the round's training losses."""
        losses = {
            row.client: row.value
            for row in report.rows
            if (row.split, row.metric) == ("train", "loss")
        }
        lost = [client for client, loss in losses.items() if not math.isfinite(loss)]
        if lost and not self.told:
            self.told = True
            log.warning(
                "round %d: the training loss of %d of %d clients is not finite (client %d, for "
                "one), and what they learn is lost; lower training.optimizer.lr or set "
                "training.optimizer.clip_norm",
                report.round,
                len(lost),
                len(losses),
                lost[0],
            )

    def on_end(self, strategy: Strategy) -> None:
        """Everything was said."""
