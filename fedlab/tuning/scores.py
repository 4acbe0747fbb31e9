"""The scores by which draws are judged."""

from __future__ import annotations

from dataclasses import dataclass
from math import nan
from typing import TYPE_CHECKING

from fedlab.errors import InputError
from fedlab.metrics.metric_set import Score
from fedlab.row import Split
from fedlab.runs.curves import learning_curves
from fedlab.runs.run import Run
from fedlab.scenario import Scenario

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class Rule:
    """The rule by which draws are chosen.

    Attributes:
        score: What counts, and which way is better.
        split: On what: ``validation``, or ``test`` for an oracle.
        best: Whether the best validated round of a run counts, as where it chooses the model
            (``evaluation.select``); otherwise the last one does.
    """

    score: Score
    split: Split = "validation"
    best: bool = False

    def of_run(self, run: Run, split: Split | None = None) -> float:
        """The score of a run (see `value`)."""
        return self.value(run.history, split)

    def value(self, history: pandas.DataFrame, split: Split | None = None) -> float:
        """The score of a run: on each domain that of all its samples, and the mean over domains.

        Where a share of the clients tests (``evaluation.fraction``), a round may test some domains
        only, the same ones in all draws of a seed: the mean is over these. NaN where nothing was
        measured, or the score of a measured domain is not defined.

        Args:
            history: The run's.
            split: Of which samples; those that the rule is about by default.
        """
        read = split or self.split
        curves = learning_curves(history, self.score.name, read)
        means = curves.mean(axis="columns")
        means[(curves.isna() & _measured(history, self.score.name, read)).any(axis="columns")] = nan
        if means.empty:
            return nan
        if self.best and read == "validation":
            return self.score.sign * float((self.score.sign * means).max())
        return float(means.iloc[-1])


def _measured(history: pandas.DataFrame, metric: str, split: Split) -> pandas.DataFrame:
    """Whether each domain was measured in each round, as `learning_curves` has them."""
    rows = history[(history["split"] == split) & (history["metric"] == metric)]
    rows = rows[rows["domain"] != ""]
    counts = rows.groupby(["round", "domain"]).size().unstack("domain", fill_value=0)
    return counts > 0


def rule_of(scenario: Scenario, metric: str | None, oracle: bool) -> Rule:
    """The rule of a name.

    Args:
        scenario: Whose metrics there are.
        metric: One of them; by default the first.
        oracle: Whether test data choose.

    Raises:
        InputError: If the scenario has no such metric.
    """
    scores = scenario.metric_set.scores
    if metric is not None and metric not in scores:
        raise InputError(
            f"metric: the scenario measures {', '.join(scores)}, and no {metric}; add it to "
            "evaluation.metrics, or choose one of these"
        )
    score = scores[metric] if metric else scenario.metric_set.first
    best = scenario.evaluation.select == "validation"
    return Rule(score, "test" if oracle else "validation", best)
