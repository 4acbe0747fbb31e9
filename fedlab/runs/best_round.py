"""The round that is best on validation, and whether patience is exhausted, from a history."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from fedlab.metrics.metric_set import Score
from fedlab.runs.curves import learning_curves
from fedlab.runs.metrics import mean_over_domains

if TYPE_CHECKING:
    import pandas

    from fedlab.runs.run_record import RunRecord


LISTED = 5
"""Rounds, and domains, that are listed one by one."""


class BestRound:
    """The best round by the mean of a metric over domains, on validation.

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
        """Processes an evaluated round; returns whether it is the best so far."""
        better = not math.isnan(value) and (
            self.round is None or self.score.sign * value > self.score.sign * self.value
        )
        if better:
            self.round, self.value, self.worse = server_round, value, 0
        else:
            self.worse += 1
        return better


def best_round(history: pandas.DataFrame, score: Score) -> BestRound:
    """The `BestRound` after all rounds of a history."""
    best = BestRound(score)
    for server_round in history.loc[history["split"] == "validation", "round"].unique():
        number = int(server_round)
        best.see(number, mean_over_domains(history, number, score.name, "validation"))
    return best


def unscored_rounds(history: pandas.DataFrame, score: Score) -> dict[int, list[str]]:
    """The validated rounds whose score is not a number on some domain.

    Returns:
        By round, the domains on which it is none.
    """
    curves = learning_curves(history, score.name, "validation")
    rows = history[(history["split"] == "validation") & (history["metric"] == score.name)]
    measured = rows.loc[rows["domain"] != "", ["round", "domain"]].drop_duplicates()
    found: dict[int, list[str]] = {}
    for number, domain in measured.itertuples(index=False):
        if math.isnan(cast(float, curves.loc[number, domain])):
            found.setdefault(int(number), []).append(str(domain))
    return found


def unscored(run: RunRecord) -> str:
    """A remark on rounds that could not be judged, and why; empty if all could."""
    score = run.metric_set.first
    missing = unscored_rounds(run.history, score)
    if not missing:
        return ""
    domains = dict.fromkeys(domain for each in missing.values() for domain in each)
    why = "is no number" if score.averages else "is not defined"
    remedy = f" ({run.metric_set.always[1]}, first in evaluation.metrics, always is)"
    return (
        f"{numbered(list(missing))} could not be chosen: validation {score.words} {why} on "
        f"{', '.join(list(domains)[:LISTED])}{' and others' * (len(domains) > LISTED)}"
        + remedy
        * (not score.averages)
    )


def numbered(rounds: Sequence[int]) -> str:
    """Rounds in words; of many, the first ones and their number."""
    if len(rounds) == 1:
        return f"round {rounds[0]}"
    if len(rounds) > LISTED:
        return f"{len(rounds)} rounds ({', '.join(map(str, rounds[:LISTED]))}, ...)"
    return f"rounds {', '.join(map(str, rounds[:-1]))} and {rounds[-1]}"


def ended_by_patience(run: RunRecord) -> str:
    """A remark that a finished run trains no further, and why; empty if it does."""
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
