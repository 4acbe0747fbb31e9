"""Methods and settings side by side, each over seeds, with the numbers that papers report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedlab.comparison import sameness
from fedlab.comparison.compared import Compared
from fedlab.comparison.curves_over_seeds import curve_of, tables_of
from fedlab.comparison.group import Group, checked_target, group_of, strategy_label
from fedlab.config.scenario_diff import differing_keys
from fedlab.errors import InputError
from fedlab.runs.curves import MEAN_OVER_DOMAINS
from fedlab.runs.run import Run, load_run

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure


class Comparison(Compared):
    """Groups of runs; the first method is the reference of the others.

    Attributes:
        groups: Runs by method and setting; the runs of a group differ in their seed.
        target: A value of the first metric, accuracy as a rule; tables then have the rounds and
            bytes up to it.
        confidence: Of the interval of a difference.
    """

    @classmethod
    def of(
        cls,
        runs: Iterable[Run | str | Path],
        *,
        target: float | None = None,
        mixed: bool = False,
        columns: Sequence[str] = (),
    ) -> Comparison:
        """Compares existing runs.

        Args:
            runs: Runs or their folders. Methods stand in the order in which they come; a run that
                has not finished counts as missing.
            target: An accuracy, between 0 and 1.
            mixed: Whether runs of different data or scenarios may stand side by side; the keys in
                which they differ are then part of their groups' labels.
            columns: Further columns, ``METRIC`` or ``METRIC:AGGREGATION`` each, e.g. ``f1:worst``;
                aggregations are domains, pooled, clients, examples, worst, decile, worst_domain,
                deviation, spread and gini. By default, the scenario's other metrics over domains.

        Raises:
            InputError: If there is no run, a folder holds none, two runs have the same method,
                setting and seed, or runs of different experiments are not wanted.
        """
        opened = [run if isinstance(run, Run) else load_run(run) for run in runs]
        if not opened:
            raise InputError("there is no run to compare; name at least one folder of a run")
        if not mixed:
            remedy = (
                "compare them all the same with mixed=True (--allow-mixed on the command line), or "
                "leave out those that differ"
            )
            sameness.refuse_other_experiments(opened, remedy)
        return _checked(cls(tuple(_grouped(opened)), target, columns=tuple(columns)))

    @classmethod
    def open(
        cls, folder: str | Path, *, target: float | None = None, columns: Sequence[str] = ()
    ) -> Comparison:
        """Opens what `fedlab.compare` left in a folder; unfinished and failed runs are missing.

        Args:
            folder: The ``out`` of `fedlab.compare`.
            target: An accuracy, between 0 and 1; by default the one that was given then.
            columns: As for `of`; by default those that were asked for then.

        Raises:
            InputError: If the folder holds no comparison.
        """
        from fedlab.comparison.comparison_folder import read_groups

        groups, plan = read_groups(Path(folder))
        wanted = plan.target if target is None else target
        asked = tuple(columns) or plan.columns
        return _checked(cls(groups, wanted, columns=asked, tuned=plan.tuned))

    def __repr__(self) -> str:
        """The groups, in one line."""
        names = ", ".join(group.label for group in self.groups)
        return f"Comparison({names}; {len(self.runs)} finished runs)"

    def results(self) -> pandas.DataFrame:
        """One row per run that was asked for, with its state and its numbers.

        Returns:
            A frame with the columns ``strategy``, one for each key that differs, ``seed``,
            ``state`` (``finished``, or why it is missing), ``round`` (the last evaluated one), one
            for each domain, ``all domains``, ``worst client``, ``spread over clients``,
            ``bytes``, ``seconds`` and, of runs on devices, ``virtual seconds``. Where a run has
            tested clients that have never trained, ``mean over clients``, ``mean over trained
            clients``, ``worst trained client`` and ``never trained`` (their number) as well.
        """
        from fedlab.comparison.table import results

        return results(self)

    def table(self) -> pandas.DataFrame:
        """One row per group; numbers as they are, accuracies between 0 and 1.

        Returns:
            A frame with two levels of columns, measure and statistic. Accuracy on each domain,
            over ``all domains``, of the ``worst client``, and the ``spread over clients`` have
            ``mean`` and ``deviation`` over seeds, NaN where no run has it; ``difference`` (of
            ``all domains``, to `reference`, by seed) has ``mean``, ``low``, ``high`` and
            ``pairs``; ``runs`` has ``finished`` and ``planned``; ``rounds to target`` and
            ``bytes to target`` have ``reached`` and, where all finished runs reached it, ``mean``
            and ``deviation``; ``bytes`` and ``seconds`` are those of a run. Of runs on devices,
            there are ``virtual seconds`` and ``virtual seconds to target`` as well; of clients
            that have never trained, the columns of `results`. Further columns have ``mean`` and
            ``deviation`` under their titles. Where methods differ in what a round asks of a client,
            ``steps``, ``parameters trained`` and ``bytes up`` have the ``mean`` over clients,
            rounds and seeds.
        """
        from fedlab.comparison.table import table

        return table(self)

    def to_markdown(self, file: str | Path | None = None) -> str:
        """The table in Markdown, accuracies in per cent, the best of each column bold.

        Args:
            file: Where to write it, too.

        Raises:
            InputError: If it cannot be written there.
        """
        from fedlab.comparison.formats import markdown

        return _written(markdown(self), file)

    def to_latex(self, file: str | Path | None = None) -> str:
        r"""The table in LaTeX for ``\usepackage{booktabs}``; see `to_markdown`."""
        from fedlab.comparison.formats import latex

        return _written(latex(self), file)

    def to_csv(self, file: str | Path | None = None) -> str:
        """The numbers of `table`, one line per group, with column names such as ``scan mean``."""
        from fedlab.comparison.formats import flat

        return _written(flat(self).to_csv(index=False), file)

    def plot(self, metric: str | None = None) -> Figure:
        """Learning curves per domain: the mean over seeds in a band of a standard deviation.

        Args:
            metric: A metric of ``evaluation.metrics``; by default the first.
        """
        from fedlab.report.figures.comparison_curves import comparison_figure

        score = self.score if metric is None else self.metric_set.score(metric)
        tables = [tables_of(group, score) for group in self.groups]
        names = [*self.domains, *[None] * (len(self.domains) > 1)]
        return comparison_figure(
            {
                name or MEAN_OVER_DOMAINS: [curve_of(each, name) for each in tables]
                for name in names
            },
            [group.label for group in self.groups],
            score,
            self.followed,
        )

    def _repr_html_(self) -> str:
        """The table for notebooks."""
        from fedlab.comparison.formats import html
        from fedlab.report.notebook import svg

        return html(self) + (svg(self.plot()) if self.domains else "")


def _checked(comparison: Comparison) -> Comparison:
    """The same comparison, if its runs share one score and can reach the target."""
    scores = dict.fromkeys(group.score for group in comparison.groups if group.runs)
    if len(scores) > 1:
        names = " and ".join(score.name for score in scores)
        raise InputError(
            f"these runs are scored by different metrics ({names}: the first of "
            "evaluation.metrics), which cannot stand in one column; compare those of one metric"
        )
    checked_target(comparison.target, comparison.score)
    comparison.asked  # noqa: B018, refuses what was not measured
    return comparison


def _grouped(runs: Sequence[Run]) -> list[Group]:
    """Runs by method and by the settings in which they differ."""
    settings = [sameness.setting(run.scenario) for run in runs]
    keys = differing_keys(*settings)
    found: dict[str, tuple[str, dict[str, Any], dict[int, Run]]] = {}
    for run, values in zip(runs, settings, strict=True):
        strategy = strategy_label(run.scenario.strategy)
        variant = {key: values.get(key) for key in keys}
        _, _, group = found.setdefault(repr((strategy, variant)), (strategy, variant, {}))
        seed = run.scenario.seed
        if seed in group:
            raise InputError(
                f"'{group[seed].folder}' and '{run.folder}' are both {strategy} with seed {seed}; "
                "leave out one of them"
            )
        group[seed] = run
    return [group_of(*parts) for parts in found.values()]


def _written(text: str, file: str | Path | None) -> str:
    if file is not None:
        try:
            Path(file).write_text(text, encoding="utf-8")
        except OSError as error:
            raise InputError(
                f"'{file}' cannot be written: {error.strerror or error}; choose another file"
            ) from error
    return text
