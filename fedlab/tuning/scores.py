"""What a draw is judged by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from fedlab.errors import InputError
from fedlab.metrics.metric_set import Score
from fedlab.runs.curves import learning_curves
from fedlab.scenario import Scenario

if TYPE_CHECKING:
    import pandas

Split = Literal["validation", "test"]


@dataclass(frozen=True)
class Rule:
    """How draws are chosen.

    Attributes:
        score: What counts, and which way is better.
        split: On what: ``validation``, or ``test`` for an oracle.
    """

    score: Score
    split: Split = "validation"

    def value(self, history: pandas.DataFrame, split: Split | None = None) -> float:
        """The score of a run: on each domain that of all its samples, and the mean over domains.

        NaN where nothing was measured.

        Args:
            history: The run's.
            split: Of which samples; those that the rule is about by default.
        """
        curves = learning_curves(history, self.score.name, split or self.split)
        return float(curves.iloc[-1].mean(skipna=False)) if len(curves) else float("nan")


def rule_of(scenario: Scenario, metric: str | None, oracle: bool) -> Rule:
    """The rule that is meant.

    Args:
        scenario: Whose metrics there are.
        metric: One of them; by default the first.
        oracle: Whether test data choose.

    Raises:
        InputError: If the scenario has no such metric.
    """
    scores = scenario.evaluation.metric_set.scores
    if metric is not None and metric not in scores:
        raise InputError(
            f"metric: the scenario measures {', '.join(scores)}, and no {metric}; add it to "
            "evaluation.metrics, or choose one of these"
        )
    score = scores[metric] if metric else scenario.evaluation.metric_set.first
    return Rule(score, "test" if oracle else "validation")
