"""Curves of a group of runs: mean and standard deviation over its seeds."""

from __future__ import annotations

from typing import NamedTuple

import pandas

from fedlab.comparison.group import Group
from fedlab.runs.curves import costs, learning_curves, worst_curve
from fedlab.runs.metrics import followed_split

ALL_DOMAINS = "all domains"


class Over(NamedTuple):
    """A curve over seeds, by evaluated round (the index of both)."""

    mean: pandas.Series
    deviation: pandas.Series


def curve_of(group: Group, domain: str = ALL_DOMAINS) -> Over:
    """The score on a domain, or its mean over all domains, in every round that all runs tested."""
    curves = []
    for seed in group.outcomes:
        history = group.runs[seed].history
        table = learning_curves(history, group.score.name, followed_split(history))
        if domain == ALL_DOMAINS:
            curves.append(table.mean(axis="columns", skipna=False))
        elif domain in table:
            curves.append(table[domain])
    return _over(curves)


def worst(group: Group) -> Over:
    """The score of the client that is worst in each round."""
    return _over([worst_curve(group.runs[seed].history, group.score) for seed in group.outcomes])


def spent(group: Group, what: str) -> pandas.Series:
    """A cost since the start by round, the mean over seeds: see `costs` for their names.

    Empty where a run has no such cost, as virtual time without devices.
    """
    tables = [costs(group.runs[seed].history) for seed in group.outcomes]
    return _over([table[what] for table in tables if all(what in each for each in tables)]).mean


def _over(curves: list[pandas.Series]) -> Over:
    if not curves:
        nothing = pandas.Series(dtype=float)
        return Over(nothing, nothing)
    table = pandas.concat(curves, axis="columns", join="inner")
    return Over(table.mean(axis="columns", skipna=False), table.std(axis="columns", ddof=1))
