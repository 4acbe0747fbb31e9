"""Selects the round whose model is the run's: the last, or the best on validation."""

from __future__ import annotations

import logging
from pathlib import Path

from fedlab.engine.grid import ClientGrid
from fedlab.errors import RunError
from fedlab.federation.callbacks import RoundReport
from fedlab.federation.round_strategy import RoundStrategy
from fedlab.runs.best_round import best_round, unscored
from fedlab.runs.checkpoint import CheckpointWriter, load_checkpoint
from fedlab.runs.history import read_history, to_frame
from fedlab.runs.metrics import mean_over_domains
from fedlab.runs.run_record import RunRecord
from fedlab.scenario import Scenario

log = logging.getLogger("fedlab")


class ValidationObserver:
    """Observer that keeps the checkpoint of the best round, and stops early by patience.

    What it knows follows from the history, so that a run that goes on chooses as one that was
    never interrupted.

    Args:
        scenario: What is run; it has a validation split.
        folder: The run's folder, with the rounds that are done.
        writer: Writes checkpoints; is notified of a round after this is.
        grid: Holds the clients' states.
    """

    def __init__(
        self, scenario: Scenario, folder: Path, writer: CheckpointWriter, grid: ClientGrid
    ) -> None:
        self.spec = scenario.evaluation
        self.run = RunRecord(folder, scenario)
        self.writer = writer
        self.grid = grid
        self.best = best_round(read_history(folder), scenario.metric_set.first)
        if self.selects:
            writer.kept_round = self.best.round

    @property
    def selects(self) -> bool:
        """Whether the best round's model is the run's."""
        return self.spec.select == "validation"

    @property
    def exhausted(self) -> bool:
        """Whether patience is exhausted."""
        return self.spec.patience is not None and self.best.worse >= self.spec.patience

    def on_start(self, strategy: RoundStrategy, first_round: int, rounds: int) -> None:
        """Does nothing: the best round so far is known from the history."""

    def on_round(self, strategy: RoundStrategy, report: RoundReport) -> None:
        """Processes the round's validation.

        Raises:
            StopIteration: If patience is at an end.
        """
        if report.concludes or not any(row.split == "validation" for row in report.rows):
            return
        name = self.best.score.name
        value = mean_over_domains(to_frame(report.rows), report.round, name, "validation")
        if self.best.see(report.round, value) and self.selects:
            self.writer.kept_round = report.round
        if self.exhausted and report.round < report.rounds:
            log.info(
                "round %d: no better validation than that of round %s in %d evaluated rounds; the "
                "run ends here (evaluation.patience)",
                report.round,
                self.best.round,
                self.best.worse,
            )
            raise StopIteration

    def on_end(self, strategy: RoundStrategy) -> None:
        """Logs rounds that could not be judged, where that affects the selection or the end."""
        if (self.selects or self.spec.patience is not None) and (remark := unscored(self.run)):
            log.warning("%s", remark)

    def choose(self, strategy: RoundStrategy) -> int | None:
        """Restores server and clients to the best round, after a checkpoint of the last one.

        Raises:
            RunError: If that round's checkpoint cannot be read.
        """
        if not self.selects:
            return None
        self.writer.on_end(strategy)
        if self.best.round is None:
            log.warning(
                "%s was not defined on validation in any round, so the last one is tested",
                self.best.score.words,
            )
            return self.writer.last_round
        try:
            checkpoint = load_checkpoint(self.writer.folder, self.best.round)
        except Exception as error:  # damage can make a reader raise anything
            raise RunError(
                f"{self.writer.folder}: the checkpoint of round {self.best.round}, which is best "
                f"on validation, cannot be read ({error}); put it back, or delete the run's folder "
                "and start it again"
            ) from error
        strategy.state = checkpoint.server
        self.grid.replace_states(checkpoint.client_records())
        return self.best.round
