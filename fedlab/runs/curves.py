"""Curves of a history: a metric, the worst client, costs, and when a target is reached.

Accuracy on a domain is that of the clients' own models on their own test splits, by examples; on a
domain that no client tests, that of the global model. A frame of history has the columns of
`read_history`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from fedlab.row import GLOBAL
from fedlab.runs import metrics

if TYPE_CHECKING:
    import pandas


def learning_curves(history: pandas.DataFrame, metric: str = "accuracy") -> pandas.DataFrame:
    """A metric on every domain in every evaluated round.

    Returns:
        One row per evaluated round (the index), one column per domain, in the order in which
        domains appear; NaN where a domain was not measured in that round.
    """
    rows = history[(history["split"] == "test") & (history["metric"] == metric)]
    own = rows[rows["client"] != GLOBAL]
    clients = metrics.weighted_means(own, ["round", "domain"])["value"].unstack("domain")
    whole = rows[rows["client"] == GLOBAL].pivot(index="round", columns="domain", values="value")
    return clients.combine_first(whole).reindex(columns=rows["domain"].drop_duplicates())


def costs(history: pandas.DataFrame) -> pandas.DataFrame:
    """What a run has cost up to and including every round.

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


def worst_curve(history: pandas.DataFrame, metric: str = "accuracy") -> pandas.Series:
    """The lowest value of a client (or domain) in each evaluated round."""
    return _by_client(history, metric).groupby("round").min()


def _by_client(history: pandas.DataFrame, metric: str) -> pandas.Series:
    """Values by round and client; a client's domains count by their examples."""
    rows = history[(history["split"] == "test") & (history["metric"] == metric)]
    own = rows[rows["client"] != GLOBAL]
    tested, who = (rows, "domain") if own.empty else (own, "client")
    return metrics.weighted_means(tested, ["round", who])["value"]


def round_reaching(history: pandas.DataFrame, target: float) -> int | None:
    """The first evaluated round with a mean accuracy over domains of at least `target`."""
    means = learning_curves(history).mean(axis="columns", skipna=False)
    reached = means.index[means >= target]
    return int(reached[0]) if len(reached) else None


def bytes_reaching(history: pandas.DataFrame, target: float) -> float | None:
    """Bytes up and down until then; None if the target was not reached."""
    first = round_reaching(history, target)
    return None if first is None else at_round(costs(history)["bytes"], first)


def virtual_seconds_reaching(history: pandas.DataFrame, target: float) -> float | None:
    """Virtual seconds until then; None if the target was not reached, or time is not virtual."""
    first, times = round_reaching(history, target), metrics.virtual_time(history)
    return None if first is None or times.empty else at_round(times, first)


def at_round(numbers: pandas.Series, round: int) -> float:
    """The number of a round."""
    return float(cast(float, numbers.loc[round]))
