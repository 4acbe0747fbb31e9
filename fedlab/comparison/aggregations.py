"""Aggregations of a metric over clients or domains, for further columns of a table.

A column is asked for by ``METRIC`` or ``METRIC:AGGREGATION``, e.g. ``f1:worst``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fedlab.errors import InputError
from fedlab.metrics.metric_set import MetricSet, Score
from fedlab.report import skew_numbers
from fedlab.row import POOLED
from fedlab.runs import metrics
from fedlab.runs.best_round import best_round
from fedlab.runs.curves import learning_curves

if TYPE_CHECKING:
    import pandas

DECILE = 0.1
LAST = 5
"""Tested rounds of ``last_five``; with ``evaluation.every: 1`` these are the last five rounds."""


@dataclass(frozen=True)
class Aggregation:
    """A reduction of many values to one number.

    Attributes:
        words: What it is called behind the metric's name.
        value: From a history, a round and a metric to the number; NaN where it is not defined.
        spread: Whether it measures how unequal values are, so that less is better.
        unitless: Whether it has no unit even where the metric has one.
        over_clients: Whether it is of clients' own tests.
    """

    words: str
    value: Callable[[pandas.DataFrame, int, Score], float]
    spread: bool = False
    unitless: bool = False
    over_clients: bool = False


@dataclass(frozen=True)
class ChosenColumn:
    """A further column of the table: a metric and its aggregation.

    Attributes:
        metric: The metric.
        aggregation: What is made of its values.
    """

    metric: Score
    aggregation: Aggregation

    @property
    def title(self) -> str:
        """The heading of the column."""
        return f"{self.metric.words} {self.aggregation.words}"

    @property
    def score(self) -> Score:
        """Name, format and direction (higher or lower is better) of its numbers."""
        how = self.aggregation
        return Score(
            self.title,
            self.metric.higher_is_better and not how.spread,
            self.metric.share and not how.unitless,
        )

    def value(self, history: pandas.DataFrame, round: int) -> float:
        """The number of a run in a round."""
        return self.aggregation.value(history, round, self.metric)


def asked(columns: Sequence[str], measured: MetricSet) -> list[ChosenColumn]:
    """The further columns by their specifications; by default the other metrics of the scenario.

    Args:
        columns: ``METRIC`` or ``METRIC:AGGREGATION`` each.
        measured: What runs have measured.

    Raises:
        InputError: If there is no such metric or aggregation.
    """
    if not columns:
        return [ChosenColumn(score, AGGREGATIONS["domains"]) for score in measured.others]
    found = []
    for column in dict.fromkeys(columns):
        name, _, how = column.strip().partition(":")
        if (how or "domains") not in AGGREGATIONS:
            raise InputError(
                f"columns: there is no aggregation '{how}'; choose from "
                f"{', '.join(AGGREGATIONS)}, as in {name}:worst"
            )
        found.append(ChosenColumn(measured.score(name), AGGREGATIONS[how or "domains"]))
    return found


def gini(values: np.ndarray) -> float:
    """The Gini coefficient, as of sizes; NaN without a positive value, or with a negative one.

    Args:
        values: One for each client.
    """
    if not values.sum() or values.min() < 0:
        return math.nan
    return skew_numbers.gini(values)


def _clients(history: pandas.DataFrame, round: int, score: Score) -> pandas.DataFrame:
    """Every client's value and examples; clients without a defined value are left out."""
    own = metrics.by_client(history, round, score.name)
    return own if score.averages else own[own["value"].notna()]


def _over_clients(
    number: Callable[[np.ndarray, Score], float],
) -> Callable[[pandas.DataFrame, int, Score], float]:
    def value(history: pandas.DataFrame, round: int, score: Score) -> float:
        values = _clients(history, round, score)["value"].to_numpy()
        return float(number(values, score)) if len(values) else math.nan

    return value


def _by_examples(history: pandas.DataFrame, round: int, score: Score) -> float:
    own = _clients(history, round, score)
    if own.empty:
        return math.nan
    return float((own["value"] * own["examples"]).sum(skipna=False) / own["examples"].sum())


def _pooled(history: pandas.DataFrame, round: int, score: Score) -> float:
    """The metric on all clients' samples together; NaN where counts for that are missing."""
    if score.averages:
        return _by_examples(history, round, score)
    rows = history[
        (history["round"] == round)
        & (history["split"] == "test")
        & (history["client"] == POOLED)
        & (history["domain"] == "")
        & (history["metric"] == score.name)
    ]
    return float(rows["value"].iloc[0]) if len(rows) else math.nan


def _domains(history: pandas.DataFrame, round: int, score: Score) -> np.ndarray:
    return metrics.values_by_domain(history, round, score.name).to_numpy()


def _validated(history: pandas.DataFrame, round: int, score: Score) -> float:
    """The test of the evaluated round that is best on validation; NaN where it was not tested."""
    best = best_round(history, score).round
    return math.nan if best is None else _mean(_domains(history, best, score))


def _oracle(history: pandas.DataFrame, round: int, score: Score) -> float:
    """The best of all tests, a choice that needs test data.

    NaN where rounds were validated that were not tested: the best test may be among them.
    """
    curves = learning_curves(history, score.name)
    if not learning_curves(history, score.name, "validation").index.isin(curves.index).all():
        return math.nan
    means = curves.mean(axis="columns", skipna=False).dropna()
    return score.sign * float((score.sign * means).max()) if len(means) else math.nan


def tested_rounds(history: pandas.DataFrame, round: int, score: Score) -> int:
    """The number of tested rounds up to one; ``last_five`` is NaN where there are fewer than five.

    Args:
        history: A run's history.
        round: The last round that counts.
        score: The metric.
    """
    return int((learning_curves(history, score.name).index <= round).sum())


def _last_five(history: pandas.DataFrame, round: int, score: Score) -> float:
    """The mean over the last five tested rounds up to one; NaN where fewer were tested."""
    if tested_rounds(history, round, score) < LAST:
        return math.nan
    means = learning_curves(history, score.name).mean(axis="columns", skipna=False)
    return float(means[means.index <= round].tail(LAST).mean(skipna=False))


def _deviation(history: pandas.DataFrame, round: int, score: Score) -> float:
    values = _domains(history, round, score)
    return float(values.std()) if len(values) else math.nan


def _worst_domain(history: pandas.DataFrame, round: int, score: Score) -> float:
    values = _domains(history, round, score)
    return score.sign * float((score.sign * values).min()) if len(values) else math.nan


def _decile(values: np.ndarray, score: Score) -> float:
    return float(np.quantile(values, DECILE if score.higher_is_better else 1 - DECILE))


AGGREGATIONS: Mapping[str, Aggregation] = {
    "domains": Aggregation(
        "over domains", lambda history, round, score: _mean(_domains(history, round, score))
    ),
    "pooled": Aggregation("of all samples", _pooled, over_clients=True),
    "clients": Aggregation(
        "over clients", _over_clients(lambda values, _: values.mean()), over_clients=True
    ),
    "examples": Aggregation("over clients by examples", _by_examples, over_clients=True),
    "worst": Aggregation(
        "of the worst client",
        _over_clients(lambda values, score: score.sign * (score.sign * values).min()),
        over_clients=True,
    ),
    "decile": Aggregation("worst decile of clients", _over_clients(_decile), over_clients=True),
    "worst_domain": Aggregation("of the worst domain", _worst_domain),
    "validated": Aggregation("over domains, round chosen on validation", _validated),
    "oracle": Aggregation("over domains, best round on test (oracle)", _oracle),
    "last_five": Aggregation("over domains, mean of the last five tested rounds", _last_five),
    "deviation": Aggregation("deviation over domains", _deviation, spread=True),
    "spread": Aggregation(
        "deviation over clients",
        _over_clients(lambda values, _: values.std()),
        spread=True,
        over_clients=True,
    ),
    "gini": Aggregation(
        "Gini over clients",
        _over_clients(lambda values, _: gini(values)),
        spread=True,
        unitless=True,
        over_clients=True,
    ),
}
"""Ways of aggregating, by the word that asks for them.

Deviations are of all values (n in the denominator). The worst decile is the quantile 0.1, by
linear interpolation; of a metric of which less is better, the quantile 0.9.
"""


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else math.nan
