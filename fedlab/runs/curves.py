"""Curves of a history: a metric, the worst client, costs, and when a target is reached.

A metric on a domain is that of the clients' own models on all their test samples; on a domain that
no client tests, that of the global model. A frame of history has the columns of
`read_history`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, cast

from fedlab.metrics.metric_set import ACCURACY, ACCURACY_SCORE, Score
from fedlab.row import GLOBAL, POOLED
from fedlab.runs import metrics

if TYPE_CHECKING:
    import pandas


MEAN_OVER_DOMAINS = "mean over domains"
"""What pictures call the mean of the curves of all domains."""


class Over(NamedTuple):
    """A curve over seeds: two series by evaluated round.

    Attributes:
        mean: The mean, in the rounds that all seeds have; NaN where a seed's value is.
        deviation: The standard deviation (n - 1); NaN of a single seed.
    """

    mean: pandas.Series
    deviation: pandas.Series


def over_seeds(curves: Sequence[pandas.Series]) -> Over:
    """Mean and deviation of the curves of several seeds; empty without any."""
    import pandas

    if not curves:
        nothing = pandas.Series(dtype=float)
        return Over(nothing, nothing)
    table = pandas.concat(list(curves), axis="columns", join="inner")
    return Over(table.mean(axis="columns", skipna=False), table.std(axis="columns", ddof=1))


def learning_curves(
    history: pandas.DataFrame, metric: str = ACCURACY, split: str = "test"
) -> pandas.DataFrame:
    """A metric on every domain in every evaluated round.

    Args:
        history: The history.
        metric: The metric.
        split: ``test`` or ``validation``.

    Returns:
        One row per evaluated round (the index), one column per domain, in the order in which
        domains appear; NaN where a domain was not measured in that round.
    """
    rows = history[(history["split"] == split) & (history["metric"] == metric)]
    rows = rows[rows["domain"] != ""]
    places = ["round", "domain"]
    own = rows[rows["client"] == POOLED].set_index(places)
    if own.empty:
        own = metrics.weighted_means(metrics.of_clients(rows), places)
    whole = rows[rows["client"] == GLOBAL].set_index(places)["value"]
    curves = own["value"].unstack("domain")
    # Where clients' figure is not defined, that of the global model is not theirs.
    curves = curves.combine_first(whole[~whole.index.isin(own.index)].unstack("domain"))
    return curves.reindex(columns=rows["domain"].drop_duplicates())


def costs(history: pandas.DataFrame) -> pandas.DataFrame:
    """A run's cumulative costs after every round.

    Returns:
        One row per round (the index): ``bytes`` up and down, ``seconds``, and ``virtual_seconds``
        where the scenario has devices, all since the start.
    """
    rows = history[history["split"] == "round"]
    kinds = {
        "bytes": rows["metric"].isin(["bytes_up", "bytes_down"]),
        "seconds": rows["metric"].str.startswith("seconds_"),
    }
    spent = rows[["round"]].drop_duplicates().set_index("round").sort_index()
    for name, chosen in kinds.items():
        spent[name] = rows[chosen].groupby("round")["value"].sum()
    spent = spent.fillna(0.0).cumsum()
    virtual = metrics.virtual_time(history)
    return spent if virtual.empty else spent.assign(virtual_seconds=virtual)


def worst_curve(history: pandas.DataFrame, score: Score = ACCURACY_SCORE) -> pandas.Series:
    """The worst value of a client (or domain) in each evaluated round (see `followed_split`).

    NaN where a client's mean over samples is no number, which is worse than any; other figures
    are not defined for some clients, which are left out.
    """
    values = _by_client(history, score.name)
    by_round = (values if score.averages else values.dropna()).groupby("round")
    worst = by_round.min() if score.higher_is_better else by_round.max()
    return worst.where(by_round.count() == by_round.size())


def _by_client(history: pandas.DataFrame, metric: str) -> pandas.Series:
    """Values by round and client, of all its samples."""
    split = metrics.followed_split(history)
    rows = history[(history["split"] == split) & (history["metric"] == metric)]
    own = metrics.of_clients(rows)
    if own.empty:
        whole = rows[(rows["client"] == GLOBAL) & (rows["domain"] != "")]
        return metrics.weighted_means(whole, ["round", "domain"])["value"]
    values = metrics.weighted_means(own, ["round", "client"])["value"]
    over_all = rows[(rows["client"] >= 0) & (rows["domain"] == "")]
    whole = over_all.set_index(["round", "client"])["value"]
    values.loc[whole.index] = whole
    return values


def round_reaching(
    history: pandas.DataFrame, target: float, score: Score = ACCURACY_SCORE
) -> int | None:
    """The first evaluated round whose mean over domains is at least as good as `target`.

    On the test splits, or on validation where only a chosen round was tested.
    """
    split = metrics.followed_split(history)
    means = learning_curves(history, score.name, split).mean(axis="columns", skipna=False)
    reached = means.index[score.sign * means >= score.sign * target]
    return int(reached[0]) if len(reached) else None


def bytes_reaching(
    history: pandas.DataFrame, target: float, score: Score = ACCURACY_SCORE
) -> float | None:
    """Bytes up and down until the target was reached; None if it was not."""
    first = round_reaching(history, target, score)
    return None if first is None else at_round(costs(history)["bytes"], first)


def virtual_seconds_reaching(
    history: pandas.DataFrame, target: float, score: Score = ACCURACY_SCORE
) -> float | None:
    """Virtual seconds until the target; None if not reached, or without virtual time."""
    first, times = round_reaching(history, target, score), metrics.virtual_time(history)
    return None if first is None or times.empty else at_round(times, first)


def at_round(numbers: pandas.Series, round: int) -> float:
    """The value of a curve in a round."""
    return float(cast(float, numbers.loc[round]))
