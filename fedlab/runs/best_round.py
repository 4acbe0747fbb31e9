"""Which round is best on validation, and whether patience is at an end, as a history tells it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from fedlab.metrics.metric_set import Score
from fedlab.runs.metrics import mean_over_domains

if TYPE_CHECKING:
    import pandas

    from fedlab.runs.run_record import RunRecord


class BestRound:
    """Which round is best by the mean of a metric over domains, on validation.

    Args:
        score: The metric. A round in which it is not defined is never better; of equal rounds the
            first is best.
    """

    def __init__(self, score: Score) -> None:
        self.score = score
        self.round: int | None = None
        self.value = math.nan
        self.worse = 0
        """Evaluated rounds since then."""

    def see(self, server_round: int, value: float) -> bool:
        """Takes in an evaluated round; whether it is the best so far."""
        better = not math.isnan(value) and (
            self.round is None or self.score.sign * value > self.score.sign * self.value
        )
        if better:
            self.round, self.value, self.worse = server_round, value, 0
        else:
            self.worse += 1
        return better


def best_round(history: pandas.DataFrame, score: Score) -> BestRound:
    """What a run knows of its best round after all rounds of a history."""
    best = BestRound(score)
    for server_round in history.loc[history["split"] == "validation", "round"].unique():
        number = int(server_round)
        best.see(number, mean_over_domains(history, number, score.name, "validation"))
    return best


def ended_by_patience(run: RunRecord) -> str:
    """Says that a finished run trains no further, and by what; empty where it does."""
    patience = run.scenario.evaluation.patience
    if patience is None or not run.finished:
        return ""
    best = best_round(run.history, run.metric_set.first)
    if best.worse < patience:
        return ""
    than = "" if best.round is None else f" no better validation than that of round {best.round},"
    return (
        f"evaluation.patience={patience} ended the run '{run.folder}' after round {run.rounds}:"
        f"{than} so more rounds are not trained; start another run with a greater "
        "evaluation.patience, or without"
    )
