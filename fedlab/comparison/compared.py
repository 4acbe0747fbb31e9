"""Groups of runs side by side: the input of a comparison's tables and figures."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from fedlab.comparison.aggregations import ChosenColumn, asked
from fedlab.comparison.group import Group
from fedlab.comparison.tuned import Tuned
from fedlab.metrics.metric_set import ACCURACY_SCORE, MetricSet, Score
from fedlab.runs.metrics import followed_split
from fedlab.runs.run import Run


@dataclass(frozen=True)
class Compared:
    """Groups of runs; the first method is the reference of the others.

    Attributes:
        groups: Runs by method and setting; the runs of a group differ in their seed.
        target: A value of the score; tables then have the rounds and bytes up to it.
        confidence: Of the interval of a difference.
        columns: Further columns of the table, ``METRIC`` or ``METRIC:AGGREGATION`` each; by
            default, the scenario's other metrics over domains.
        tuned: How settings were chosen, if a tuning did.
    """

    groups: tuple[Group, ...]
    target: float | None = None
    confidence: float = 0.95
    columns: tuple[str, ...] = ()
    tuned: Tuned | None = None

    @property
    def score(self) -> Score:
        """The score of all runs: the first metric of their scenario, accuracy as a rule."""
        return next((group.score for group in self.groups if group.runs), ACCURACY_SCORE)

    @property
    def chosen(self) -> bool:
        """Whether runs are scored at the round that was best on validation."""
        return any(run.chosen_round is not None for run in self.runs)

    @property
    def followed(self) -> str:
        """The split of the curves: tests, or validation where one chosen round was tested."""
        return next((followed_split(run.history) for run in self.runs), "test")

    @property
    def metric_set(self) -> MetricSet:
        """The metrics that all runs have, in the order of the first."""
        sets = [run.metric_set for group in self.groups for run in group.runs.values()]
        if not sets:
            return MetricSet()
        names = set.intersection(*({m.title for m in each.metrics} for each in sets))
        measured = tuple(metric for metric in sets[0].metrics if metric.title in names)
        return MetricSet(measured, sets[0].target)

    @property
    def asked(self) -> list[ChosenColumn]:
        """The further columns."""
        return asked(self.columns, self.metric_set)

    @property
    def seeds(self) -> tuple[int, ...]:
        """All seeds, finished or not."""
        return tuple(sorted({seed for group in self.groups for seed in group.seeds}))

    @property
    def runs(self) -> tuple[Run, ...]:
        """All finished runs, group by group."""
        return tuple(group.runs[seed] for group in self.groups for seed in sorted(group.runs))

    @property
    def variant_keys(self) -> tuple[str, ...]:
        """Keys of the scenario that differ between groups."""
        return tuple(dict.fromkeys(key for group in self.groups for key in group.variant))

    @cached_property
    def domains(self) -> tuple[str, ...]:
        """Domains that any run was tested on, in the order of the first run that has them."""
        outcomes = (one for group in self.groups for one in group.outcomes.values())
        return tuple(dict.fromkeys(domain for one in outcomes for domain in one.domains))

    def reference(self, group: Group) -> Group:
        """The reference of a group: the first method under the same setting.

        Where there is only one method: its first setting.
        """
        first = self.groups[0]
        if all(other.strategy == first.strategy for other in self.groups):
            return first
        return next(
            (
                other
                for other in self.groups
                if other.strategy == first.strategy and other.variant == group.variant
            ),
            first,
        )
