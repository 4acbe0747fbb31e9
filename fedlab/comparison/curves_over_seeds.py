"""Curves of a group of runs: mean and standard deviation over its seeds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedlab.comparison.group import Group
from fedlab.metrics.metric_set import Score
from fedlab.runs.curves import Over, costs, learning_curves, over_seeds, worst_curve
from fedlab.runs.metrics import followed_split

if TYPE_CHECKING:
    import pandas

ALL_DOMAINS = "all domains"


def curve_of(group: Group, domain: str = ALL_DOMAINS, score: Score | None = None) -> Over:
    """A score on a domain, or its mean over all domains, in every round that all runs tested.

    Args:
        group: The runs.
        domain: The domain.
        score: What they have measured; by default their first metric.
    """
    score = score or group.score
    curves = []
    for seed in group.outcomes:
        history = group.runs[seed].history
        table = learning_curves(history, score.name, followed_split(history))
        if domain == ALL_DOMAINS:
            curves.append(table.mean(axis="columns", skipna=False))
        elif domain in table:
            curves.append(table[domain])
    return over_seeds(curves)


def worst(group: Group) -> Over:
    """The score of the client that is worst in each round."""
    return over_seeds(
        [worst_curve(group.runs[seed].history, group.score) for seed in group.outcomes]
    )


def spent(group: Group, what: str) -> pandas.Series:
    """A cost since the start by round, the mean over seeds: see `costs` for their names.

    Empty where a run has no such cost, as virtual time without devices.
    """
    tables = [costs(group.runs[seed].history) for seed in group.outcomes]
    return over_seeds(
        [table[what] for table in tables if all(what in each for each in tables)]
    ).mean
