"""The numbers of several scenarios: means of each, ranks, and one number over all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas

from fedlab.comparison.compared import Compared
from fedlab.comparison.significance import (
    Ranks,
    average_ranks,
    probability_of_improvement,
    stratified_bootstrap,
)
from fedlab.comparison.table import by_seed, over_all
from fedlab.metrics.metric_set import Score

RANK, IQM, BETTER = "average rank", "interquartile mean", "probability of improvement"


@dataclass(frozen=True)
class SuiteNumbers:
    """The same methods in several scenarios.

    Attributes:
        comparisons: A comparison for each scenario, by its name; all have the same methods.
    """

    comparisons: Mapping[str, Compared]

    @property
    def labels(self) -> list[str]:
        """The methods, in their order; the first is the reference of the others."""
        return [group.label for group in next(iter(self.comparisons.values())).groups]

    @property
    def score(self) -> Score:
        """The score that all scenarios share."""
        return next(iter(self.comparisons.values())).score

    @cached_property
    def values(self) -> dict[str, dict[str, list[float]]]:
        """The mean over domains of every finished run, by scenario and method."""
        return {
            name: {
                group.label: [
                    value
                    for value in by_seed(group, lambda run, c=each: over_all(c, run)).values()
                    if not np.isnan(value)
                ]
                for group in each.groups
            }
            for name, each in self.comparisons.items()
        }

    @cached_property
    def complete(self) -> list[str]:
        """Scenarios in which every method has a finished run; others do not count in ranks."""
        return [name for name, by_method in self.values.items() if all(by_method.values())]

    @cached_property
    def ranks(self) -> Ranks | None:
        """Average ranks over scenarios; None with fewer than two, or two methods."""
        if len(self.complete) < 2 or len(self.labels) < 2:
            return None
        means = [[np.mean(self.values[n][label]) for label in self.labels] for n in self.complete]
        return average_ranks(self.score.sign * np.array(means))

    def table(self) -> pandas.DataFrame:
        """One row per method.

        Returns:
            A frame with two levels of columns: for each scenario ``mean`` and ``deviation`` over
            seeds of the mean over domains; ``average rank`` (1 is the best); the ``interquartile
            mean`` of all runs of all scenarios with ``low`` and ``high`` of a stratified bootstrap;
            and the ``probability of improvement`` over the first method, the mean over scenarios.
            Scenarios in which a method has no finished run count in none of the last three.
        """
        rows = []
        for place, label in enumerate(self.labels):
            row: dict[tuple[str, str], float] = {}
            for name, by_method in self.values.items():
                own = by_method[label]
                row[name, "mean"] = float(np.mean(own)) if own else np.nan
                row[name, "deviation"] = float(np.std(own, ddof=1)) if len(own) > 1 else np.nan
            row[RANK, "mean"] = self.ranks.mean[place] if self.ranks else np.nan
            own = [self.values[name][label] for name in self.complete]
            found = stratified_bootstrap(own)
            row |= {(IQM, "mean"): found.value, (IQM, "low"): found.low, (IQM, "high"): found.high}
            row[BETTER, "mean"] = np.nan if place == 0 else self._improvement(label)
            rows.append(row)
        columns = pandas.MultiIndex.from_tuples(rows[0], names=["measure", "statistic"])
        index = pandas.Index(self.labels, name="method")
        return pandas.DataFrame([list(r.values()) for r in rows], index=index, columns=columns)

    def _improvement(self, label: str) -> float:
        sign, first = self.score.sign, self.labels[0]
        each = [
            probability_of_improvement(
                [sign * value for value in self.values[name][label]],
                [sign * value for value in self.values[name][first]],
            )
            for name in self.complete
        ]
        return float(np.mean(each)) if each else np.nan
