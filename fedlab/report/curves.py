"""The worst client over the evaluated rounds of a history.

What is measured are the clients' own models on their own test splits; of a history without them
(``evaluation.fraction`` 0) it is the global model on whole domains. Curves by domain are those of
`fedlab.comparison.statistics.learning_curves`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedlab.row import GLOBAL
from fedlab.runs.metrics import weighted_means

if TYPE_CHECKING:
    import pandas


def worst_curve(history: pandas.DataFrame, metric: str = "accuracy") -> pandas.Series:
    """The lowest value of a client (or domain) in each evaluated round."""
    return _by_client(history, metric).groupby("round").min()


def _by_client(history: pandas.DataFrame, metric: str) -> pandas.Series:
    """Values by round and client; a client's domains count by their examples."""
    rows = history[(history["split"] == "test") & (history["metric"] == metric)]
    own = rows[rows["client"] != GLOBAL]
    tested, who = (rows, "domain") if own.empty else (own, "client")
    return weighted_means(tested, ["round", who])["value"]
