"""Runs the trials of a tuning, with or without halving."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from fedlab.comparison.compare import tasks_of
from fedlab.comparison.comparison_folder import RunEntry
from fedlab.comparison.plan import PlannedRun
from fedlab.comparison.run_worker import RunTask
from fedlab.runs.run import Run, load_run
from fedlab.runs.run_folder import RunFolder
from fedlab.tuning.halving import better_half, rungs
from fedlab.tuning.scores import Rule
from fedlab.tuning.trials import Trial

Train = Callable[[Sequence[RunTask]], Mapping[str, str]]
"""Runs tasks and returns why some have failed, by name."""


def planned_run(trial: Trial) -> PlannedRun:
    """A trial as a run of a comparison."""
    seed = trial.scenario.seed
    return PlannedRun(RunEntry(trial.folder, trial.method, trial.values, seed), trial.scenario)


def run_trials(
    trials: Sequence[Trial], folder: Path, train: Train, rule: Rule, halving: bool
) -> dict[str, str]:
    """Trains the trials that have not finished.

    Args:
        trials: All of them.
        folder: The folder of the tuning.
        train: Runs tasks.
        rule: What draws are judged by.
        halving: Whether the worse half is given up on the way.

    Returns:
        Why trials have no score, by the names of their folders: they failed, or were given up.
    """
    rounds = trials[0].scenario.rounds
    left, reasons = list(trials), dict[str, str]()
    for rung in rungs(rounds) if halving else [rounds]:
        todo = [each for each in left if not _is_there(each, folder, rung)]
        tasks = [_task(each, folder, rung if rung < rounds else None) for each in todo]
        reasons |= {name: f"failed: {why}" for name, why in (train(tasks) if tasks else {}).items()}
        left = [each for each in left if each.folder not in reasons]
        if rung == rounds:
            break
        going_on = _going_on(left, folder, rule, rung)
        given_up = [t for t in left if t.number not in going_on[t.method]]
        reasons |= {each.folder: f"given up after round {rung}" for each in given_up}
        left = [each for each in left if each not in given_up]
    return reasons


def runs_of(trials: Sequence[Trial], folder: Path) -> dict[str, Run]:
    """The started runs, by the names of their folders."""
    found = [t.folder for t in trials if RunFolder(folder / t.folder).scenario_file.is_file()]
    return {name: load_run(folder / name) for name in found}


def score_of_draw(
    trials: Sequence[Trial], folder: Path, method: str, number: int, rule: Rule
) -> float:
    """A draw's mean score over its runs; higher is better; NaN if a run failed."""
    own = [t for t in trials if t.method == method and t.number == number]
    runs = runs_of(own, folder)
    ended = [runs[t.folder] for t in own if t.folder in runs and runs[t.folder].finished]
    if len(ended) < len(own):
        return float("nan")
    return rule.score.sign * float(np.mean([rule.of_run(run) for run in ended]))


def _going_on(trials: Sequence[Trial], folder: Path, rule: Rule, rung: int) -> dict[str, list[int]]:
    """For each method, the draws whose mean over seeds is in the better half after a round."""
    scores: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for trial in trials:
        history = load_run(folder / trial.folder).history
        so_far = history[history["round"] <= rung]
        scores[trial.method][trial.number].append(rule.score.sign * rule.value(so_far))
    return {
        method: better_half({number: float(np.mean(each)) for number, each in by_draw.items()})
        for method, by_draw in scores.items()
    }


def is_finished(trial: Trial, folder: Path) -> bool:
    """Whether a trial's run is finished."""
    return RunFolder(folder / trial.folder).finished


def _is_there(trial: Trial, folder: Path, rung: int) -> bool:
    run = RunFolder(folder / trial.folder)
    if not run.scenario_file.is_file():
        return False
    return run.finished or (rung < trial.scenario.rounds and load_run(run.path).rounds >= rung)


def _task(trial: Trial, folder: Path, until: int | None) -> RunTask:
    (task,) = tasks_of([planned_run(trial)], folder)
    return RunTask(task.name, task.folder, task.scenario, task.resources, until=until)
