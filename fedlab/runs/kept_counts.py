"""The stored counts of metrics in a run's tests, as arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fedlab.row import POOLED

if TYPE_CHECKING:
    from fedlab.runs.run_record import RunRecord


def kept_counts(
    run: RunRecord, metric: str, round: int, domain: str = "", client: int = POOLED
) -> dict[str, np.ndarray]:
    """The counts of a metric that stores them, by name.

    Args:
        run: The run.
        metric: The metric's title, such as ``confusion``.
        round: An evaluated round.
        domain: A domain's name; by default all samples of the clients together.
        client: -1 for the global model on a domain that no client has.

    Returns:
        Arrays by name; empty where nothing is kept.
    """
    rows = run.counts
    rows = rows[
        (rows["round"] == round)
        & (rows["metric"] == metric)
        & (rows["domain"] == domain)
        & (rows["client"] == client)
    ]
    found = {}
    for name, own in rows.groupby("count", sort=False):
        places = np.array([[int(part) for part in place.split()] for place in own["place"]])
        array = np.zeros(places.max(axis=0) + 1)
        array[tuple(places.T)] = own["value"]
        found[str(name)] = array
    return found
