"""Learning curves: a metric over the evaluated rounds of a history.

What is measured are the clients' own models on their own test splits; of a history without them
(``evaluation.fraction`` 0) it is the global model on whole domains.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedlab.strategies.callbacks import GLOBAL

if TYPE_CHECKING:
    import pandas


def domain_curves(history: pandas.DataFrame, metric: str = "accuracy") -> pandas.DataFrame:
    """A metric by round and domain.

    Returns:
        One row per evaluated round (the index), one column per domain in the order of their
        appearance; clients count by their examples. NaN where a domain was not tested.
    """
    rows = _tests(history, metric)
    rows = rows.assign(value=rows["value"] * rows["examples"])
    sums = rows.groupby(["round", "domain"])[["value", "examples"]].sum()
    table = (sums["value"] / sums["examples"]).unstack("domain")
    return table[list(rows["domain"].drop_duplicates())]


def mean_curve(history: pandas.DataFrame, metric: str = "accuracy") -> pandas.Series:
    """A metric by round: the mean over clients, or over domains where only these were tested."""
    return _by_client(history, metric).groupby("round").mean()


def worst_curve(history: pandas.DataFrame, metric: str = "accuracy") -> pandas.Series:
    """The lowest value of a client (or domain) in each evaluated round."""
    return _by_client(history, metric).groupby("round").min()


def _tests(history: pandas.DataFrame, metric: str) -> pandas.DataFrame:
    rows = history[(history["split"] == "test") & (history["metric"] == metric)]
    own = rows[rows["client"] != GLOBAL]
    return rows if own.empty else own


def _by_client(history: pandas.DataFrame, metric: str) -> pandas.Series:
    """Values by round and client; a client's domains count by their examples."""
    rows = _tests(history, metric)
    rows = rows.assign(value=rows["value"] * rows["examples"])
    who = "domain" if (rows["client"] == GLOBAL).all() else "client"
    sums = rows.groupby(["round", who])[["value", "examples"]].sum()
    return sums["value"] / sums["examples"]
