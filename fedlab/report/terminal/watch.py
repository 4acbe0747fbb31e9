"""Shows a run's first metric in the terminal, live or afterwards."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from fedlab.errors import InputError
from fedlab.metrics.metric_set import Score
from fedlab.report.terminal.braille_chart import Points, line_chart
from fedlab.report.terminal.progress import scores
from fedlab.report.units import duration
from fedlab.runs import metrics
from fedlab.runs.curves import learning_curves
from fedlab.runs.run import Run, load_run
from fedlab.runs.run_folder import RunFolder

if TYPE_CHECKING:
    import pandas

COLOURS = ("cyan", "yellow", "green", "magenta", "blue", "red")
MEAN = "bold"
"""The style of the mean over domains, which is no domain's colour."""
PAUSE = 0.5  # seconds between looks
TALLEST = 22


def watch(run: Run, console: Console) -> None:
    """Shows a run's curves until it ends; those of one that has ended at once.

    On a terminal they are drawn anew with every round. Elsewhere every evaluated round is a line.

    Args:
        run: The run.
        console: Where to show it.

    Raises:
        InputError: If the run has stopped, or ended, before any round was evaluated.
    """
    if console.is_terminal:
        with Live(console=console, auto_refresh=False) as live:
            for state in _states(run):
                live.update(_picture(state, console), refresh=True)
    else:
        shown_round = 0
        for state in _states(run):
            history = state.history
            followed = history["split"] == metrics.followed_split(history)
            rounds = history.loc[followed, "round"].unique()
            for number in rounds[rounds > shown_round]:
                shown_round = int(number)
                line = f"round {shown_round:>{len(str(run.scenario.rounds))}}/{run.scenario.rounds}"
                console.print(
                    f"{line}  {scores(history, shown_round, run.metric_set.first)}",
                    soft_wrap=True,
                    highlight=False,
                )
    if _never_evaluated(load_run(run.folder).history):
        raise InputError(
            f"the run '{run.folder}' has no evaluated round; go on with "
            f"`fedlab resume {run.folder}`"
        )


def _states(run: Run) -> Iterator[Run]:
    """Yields the run now, and whenever its history has grown, until no process writes to it."""
    folder, seen = RunFolder(run.folder), -1
    while True:
        over = folder.finished or not folder.busy  # looked at first: what came before is read below
        size = folder.history_file.stat().st_size if folder.history_file.exists() else 0
        if size != seen:
            seen = size
            start = time.monotonic()
            yield load_run(run.folder)
            time.sleep(0 if over else min(5 * (time.monotonic() - start), 10))
        if over:
            return
        time.sleep(PAUSE)


def _picture(run: Run, console: Console) -> RenderableType:
    scenario = run.scenario
    state = "finished" if run.finished else f"round {run.rounds} of {scenario.rounds}"
    title = Text.assemble(
        (scenario.name, "bold"), f" · {scenario.strategy.name} · seed {scenario.seed} · {state}"
    )
    title.append(_time_left(run))
    if _never_evaluated(run.history):
        return Group(title, Text("no round has been evaluated yet", style="dim"))
    score = run.metric_set.first
    curves = _curves(run.history, score)
    if not curves[-1][-1]:
        words = f"{score.words} is not defined in any round so far"
        return Group(title, Text(words, style="dim"))
    height = min(console.height - 5, TALLEST)
    chart = line_chart([(style, points) for _, style, points in curves], console.width, height)
    legend = Text("   ").join(
        Text.assemble(
            ("━", style), f"\N{NO-BREAK SPACE}{name}\N{NO-BREAK SPACE}{points[-1][1]:.3f}"
        )
        for name, style, points in curves
    )
    return Group(
        title,
        Text(f"{metrics.followed_split(run.history)} {score.words}", style="dim"),
        chart,
        legend,
    )


def _never_evaluated(history: pandas.DataFrame) -> bool:
    return not history["split"].isin(["test", "validation"]).any()


def _curves(history: pandas.DataFrame, score: Score) -> list[tuple[str, str, Points]]:
    """Names, styles and points: the domains, and on top their mean."""
    domains = learning_curves(history, score.name, metrics.followed_split(history)).dropna(
        axis="columns", how="all"
    )
    curves = [
        (str(name), COLOURS[index % len(COLOURS)], _points(domains[name]))
        for index, name in enumerate(domains)
    ]
    return [*curves, ("mean", MEAN, _points(domains.mean(axis="columns", skipna=False)))]


def _points(curve: pandas.Series) -> Points:
    return [(float(round), float(value)) for round, value in curve.dropna().items()]  # type: ignore[arg-type]


def _time_left(run: Run) -> str:
    """The estimated time of the remaining rounds, by the mean of the finished ones."""
    left = run.scenario.rounds - run.rounds
    if run.finished or not run.rounds or not left:
        return ""
    spent = metrics.round_total(run.history, "seconds_")
    return f" · {duration(spent / run.rounds * left)} left"
