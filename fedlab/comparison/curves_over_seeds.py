"""Curves of a group of runs: mean and standard deviation over its seeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fedlab.comparison.group import Group
from fedlab.metrics.metric_set import Score
from fedlab.runs.curves import Over, costs, learning_curves, over_seeds, worst_curve
from fedlab.runs.metrics import followed_split

if TYPE_CHECKING:
    import pandas


def tables_of(group: Group, score: Score | None = None) -> list[pandas.DataFrame]:
    """The learning curves of each run of a group.

    Args:
        group: The runs.
        score: What they have measured; by default their first metric.
    """
    name = (score or group.score).name
    histories = [group.runs[seed].history for seed in group.outcomes]
    return [learning_curves(history, name, followed_split(history)) for history in histories]


def curve_of(tables: Sequence[pandas.DataFrame], domain: str | None = None) -> Over:
    """A score on a domain, or its mean over all domains, in every round that all runs tested.

    Args:
        tables: Those of a group (`tables_of`).
        domain: The domain; all of them by default.
    """
    if domain is None:
        return over_seeds([table.mean(axis="columns", skipna=False) for table in tables])
    return over_seeds([table[domain] for table in tables if domain in table])


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
