"""`fedlab.compare`: methods and settings over seeds, run and put side by side."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from fedlab.comparison.arguments import split
from fedlab.comparison.column_checks import check_columns
from fedlab.comparison.comparison import Comparison
from fedlab.comparison.comparison_folder import write_failures, write_plan
from fedlab.comparison.group import checked_target
from fedlab.comparison.launch import memory_of_data, run_here, run_on_ray
from fedlab.comparison.plan import PlannedRun, checked_seeds, plan, refuse_other_runs
from fedlab.comparison.run_worker import Load, OnProgress, RunProgress, RunTask
from fedlab.data.remarks import log_remarks
from fedlab.engine.start import check_resources
from fedlab.errors import InputError
from fedlab.metrics.metric_set import Score
from fedlab.preparation import Prepared, last_test_of, prepare
from fedlab.renamed import warn
from fedlab.runs.run_folder import RunFolder
from fedlab.scenario import Scenario
from fedlab.tracking.observer import check_trackers

log = logging.getLogger("fedlab.comparison")


def compare(
    source: str | Path | Mapping[str, Any] | Scenario,
    strategies: Sequence[Any] | Any = (),
    seeds: int | Sequence[int] = 5,
    overrides: Sequence[str] | Mapping[str, Any] = (),
    *,
    variants: Mapping[str, Sequence[Any]] | None = None,
    out: str | Path | None = None,
    target: float | None = None,
    columns: Sequence[str] = (),
    max_parallel: int | None = None,
    progress: bool | Console = True,
    **fields: Any,
) -> Comparison:
    """Runs a scenario with every method, under every setting, with every seed.

    Each run is an ordinary run folder inside `out`, with the bytes that `fedlab.simulate` gives.
    As many run at once as there is room for. Runs that have finished are not repeated, and
    interrupted ones go on: the same call again completes what a first one left. A run that fails
    is missing from the result and does not stop the others.

    Args:
        source: A scenario, its file, or the name of one that comes with fedlab.
        strategies: Methods; the first is the reference of the others. Each is a name
            (``"fedbn"``), a name with parameters (``"fedprox mu=0.1"`` or a mapping), a strategy's
            class or its parameters; a text may name several, with commas. By default the
            scenario's own. That one keeps the parameters that the scenario gives it; others start
            from their defaults.
        seeds: How many (from 0), or which.
        overrides: Changes for all runs, as `fedlab.simulate` takes them.
        variants: Values to compare, by dotted key: ``{"partition.labels.alpha": [0.1, 1.0]}``.
        out: Folder of the comparison; by default one inside ``output.dir``, named after the
            scenario.
        target: A value of the first metric, as a rule an accuracy between 0 and 1; the table then
            has the rounds and bytes up to it.
        columns: Further columns of the table, as `Comparison.of` takes them.
        max_parallel: Runs at the same time, at most; fewer need less memory. With
            ``resources.backend: local`` there is always one.
        progress: Whether to show how it goes, or the console to show it on.
        **fields: Changes of top-level fields for all runs, such as ``rounds=10``; ``client`` is
            the client trainer.

    Raises:
        InputError: If any of the runs cannot be done; nothing was started.
    """
    max_parallel = checked_parallel(max_parallel, fields)
    ready = plan_comparison(
        source, strategies, seeds, overrides, dict(variants or {}), out, target, columns, fields
    )
    load = memory_of_data()
    with shown(progress, len(ready.planned), len(ready.left())) as watch:
        check_groups(ready.left(), load, refuse_untested)
        return ready.run(load, watch, max_parallel)


def checked_parallel(max_parallel: int | None, fields: dict[str, Any]) -> int | None:
    """The number of runs at the same time, which `fields` may have under its old name.

    Raises:
        InputError: If it is no number of runs.
    """
    if "at_once" in fields:
        warn("compare(at_once=)", "max_parallel", frames=4)
        max_parallel = fields.pop("at_once")
    if max_parallel is not None and max_parallel < 1:
        raise InputError(f"max_parallel: {max_parallel} is no number of runs; give at least 1")
    return max_parallel


@dataclass(frozen=True)
class PlannedComparison:
    """A comparison whose settings have been checked, and of which nothing was prepared.

    Attributes:
        planned: Its runs.
        folder: Its folder.
        target: As `compare` takes it.
        columns: As `compare` takes them.
    """

    planned: Sequence[PlannedRun]
    folder: Path
    target: float | None
    columns: Sequence[str]

    def left(self) -> list[PlannedRun]:
        """The runs that have not finished."""
        return [
            one for one in self.planned if not RunFolder(self.folder / one.entry.folder).finished
        ]

    def run(self, load: Load, watch: OnProgress, max_parallel: int | None) -> Comparison:
        """Trains what is left.

        Args:
            load: Gives the samples of a run.
            watch: Called with the progress of each run.
            max_parallel: Runs at the same time, at most.
        """
        todo = self.left()
        write_plan(self.folder, [one.entry for one in self.planned], self.target, self.columns)
        failures = run_all(tasks_of(todo, self.folder), load, watch, max_parallel)
        write_failures(self.folder, failures)
        return Comparison.open(self.folder)


def plan_comparison(
    source: str | Path | Mapping[str, Any] | Scenario,
    strategies: Sequence[Any] | Any,
    seeds: int | Sequence[int],
    overrides: Sequence[str] | Mapping[str, Any],
    variants: Mapping[str, Sequence[Any]],
    out: str | Path | None,
    target: float | None,
    columns: Sequence[str],
    fields: Mapping[str, Any],
) -> PlannedComparison:
    """Plans a comparison and checks its settings; the arguments are those of `compare`.

    Raises:
        InputError: If any of the runs cannot be done.
    """
    given = list(strategies) if isinstance(strategies, list | tuple) else [strategies]
    listed = [s for one in given for s in (split(one) if isinstance(one, str) else [one])]
    planned = plan(source, listed, checked_seeds(seeds), overrides, variants, dict(fields))
    first = planned[0].scenario
    checked_target(target, _score_of_all(planned))
    for one in planned:
        check_columns(columns, one.scenario)
    folder = Path(out) if out else first.output.dir / f"{first.name}-comparison"
    refuse_other_runs(planned, folder)
    check_resources(first)
    check_trackers(first)
    return PlannedComparison(planned, folder, target, columns)


def _score_of_all(planned: Sequence[PlannedRun]) -> Score:
    """The first metric, which must be the same in all runs: they share one column."""
    scores = dict.fromkeys(one.scenario.metric_set.first for one in planned)
    if len(scores) > 1:
        raise InputError(
            f"evaluation.metrics: {' and '.join(score.name for score in scores)} cannot stand in "
            "one column; begin the list with the same metric everywhere"
        )
    return next(iter(scores))


def tasks_of(todo: Sequence[PlannedRun], folder: Path) -> list[RunTask]:
    """The runs to do, each with its folder inside that of the comparison."""
    return [
        RunTask(e.folder, (folder / e.folder).absolute(), one.scenario, one.scenario.resources)
        for one in todo
        for e in [one.entry]
    ]


def check_groups(
    todo: Sequence[PlannedRun], load: Load, also: Callable[[Prepared], None] = lambda _: None
) -> None:
    """Prepares a run of every group, so that errors are raised before anything is trained.

    Args:
        todo: The runs.
        load: Gives the samples of a run.
        also: A further check of what is prepared; raises `InputError`.

    Raises:
        InputError: With all that cannot be done.
    """
    problems: dict[str, str] = {}
    checked = set()
    for one in todo:
        group = repr((one.entry.strategy, one.entry.variant))
        if group in checked:
            continue
        checked.add(group)
        try:
            also(prepare(one.scenario, load))
        except InputError as error:
            name = one.entry.folder.rpartition("-s")[0]
            problems[name] = "\n".join(f"{name}: {line}" for line in str(error).splitlines())
    if problems:
        raise InputError("\n".join(problems.values()))


def run_all(
    jobs: Sequence[RunTask], load: Load, watch: OnProgress, max_parallel: int | None
) -> dict[str, str]:
    """Runs jobs, as many at once as the resources allow.

    Args:
        jobs: What to run.
        load: Gives the samples of a job.
        watch: Called with the progress of each run.
        max_parallel: Runs at the same time, at most.

    Returns:
        Why jobs have failed, by their names.
    """
    failures: dict[str, str] = {}

    def on_progress(job: RunTask, news: RunProgress | None) -> None:
        if news is not None and news.failure is not None:
            failures[job.name] = news.failure
        watch(job, news)

    if jobs and jobs[0].scenario.resources.backend == "local":
        if max_parallel is not None and max_parallel > 1:
            log.warning(
                "resources.backend is local, which does one run at a time, and not %d at once; "
                "use resources.backend=ray",
                max_parallel,
            )
        run_here(jobs, load, on_progress)
    elif jobs:
        run_on_ray(jobs, load, on_progress, max_parallel)
    return failures


def refuse_untested(prepared: Prepared) -> None:
    """Refuses runs that test nothing, and warns of those that lack some domains.

    Raises:
        InputError: With the remedy.
    """
    test = last_test_of(prepared)
    if test.why_nothing:
        lone = test.scenario.evaluation.domains
        raise InputError(
            f"{test.why_nothing}, so that there is no number to compare; set "
            "evaluation.fraction=1" + ", or leave the method out" * lone
        )
    log_remarks(filter(None, [test.remark]))


@contextmanager
def shown(progress: bool | Console, runs: int, left: int) -> Generator[OnProgress]:
    """A callback for the progress of runs, which shows it unless `progress` is False."""
    if progress is False:
        yield lambda job, news: None
        return
    from fedlab.comparison.run_progress import ComparisonProgress

    console = progress if isinstance(progress, Console) else Console(highlight=False)
    with ComparisonProgress(console, runs, left) as shown:
        yield shown.on_progress
