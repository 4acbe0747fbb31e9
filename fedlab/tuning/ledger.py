"""The ledger of a tuning: the score and the cost of every draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fedlab.errors import InputError
from fedlab.files import write_whole
from fedlab.runs.curves import costs
from fedlab.runs.run import Run
from fedlab.tuning.scores import Rule
from fedlab.tuning.trials import Trial, value_of

if TYPE_CHECKING:
    import pandas

LEDGER = "ledger.csv"
FIRST = ["method", "draw", "seed", "score", "oracle", "rounds", "bytes", "seconds", "state"]
"""Columns of every ledger, before those of what was drawn; and ``left_out`` after the seed, where a
trial is trained without one of the domains."""


def ledger(
    trials: Sequence[Trial], runs: Mapping[str, Run], reasons: Mapping[str, str], rule: Rule
) -> pandas.DataFrame:
    """One row for each trial.

    Args:
        trials: All of them.
        runs: Their runs, by folder, as far as these have been run.
        reasons: Why a trial has no score, by folder.
        rule: What counts.

    Returns:
        A frame with the columns of `FIRST`, and one for each key that was drawn. ``score`` is on
        validation and alone decides; ``oracle`` is on test data, shows how far the selection is
        from the best choice, and decides nothing. NaN where there is none.
    """
    import pandas

    drawn: dict[str, list[str]] = {}
    for trial in trials:
        drawn.setdefault(trial.method, []).extend(trial.values)
    rows = []
    for trial in trials:
        run = runs.get(trial.folder)
        row: dict[str, object] = {
            "method": trial.method,
            "draw": trial.number,
            "seed": trial.scenario.seed,
        }
        if trial.left_out is not None:
            row["left_out"] = trial.left_out
        if run is not None:
            spent = costs(run.history).iloc[-1:]
            row |= {
                "score": rule.of_run(run, "validation"),
                "oracle": rule.of_run(run, "test"),
                "rounds": run.rounds,
                "bytes": float(spent["bytes"].sum()),
                "seconds": float(spent["seconds"].sum()),
            }
        row["state"] = reasons.get(trial.folder, "done" if run is not None else "not started")
        rows.append(row | {key: value_of(trial.scenario, key) for key in drawn[trial.method]})
    first = FIRST if trials[0].left_out is None else [*FIRST[:3], "left_out", *FIRST[3:]]
    return pandas.DataFrame(rows).reindex(columns=[*first, *_drawn(trials)])


def write_ledger(frame: pandas.DataFrame, folder: Path) -> None:
    """Writes the ledger without machine-dependent columns (seconds)."""
    write_whole(folder / LEDGER, frame.drop(columns="seconds").to_csv(index=False))


def best_draws(frame: pandas.DataFrame, column: str, sign: int) -> dict[str, int]:
    """For each method the draw with the best mean over seeds; of equals, the first.

    Args:
        frame: The ledger.
        column: ``score`` or ``oracle``.
        sign: 1 where higher is better, else -1.

    Raises:
        InputError: If a method has no draw that has ended with a score.
    """
    ended = frame[frame["state"] == "done"]
    means = sign * ended.groupby(["method", "draw"], sort=False)[column].mean()
    best: dict[str, int] = {}
    for method in frame["method"].drop_duplicates():
        own = means.xs(method).dropna() if method in means.index else means.iloc[:0]
        if own.empty:
            states = frame.loc[frame["method"] == method, "state"]
            raise InputError(
                f"{method}: no draw has a score ({states.iloc[0]}); widen the space, or look at "
                "why its runs failed"
            )
        best[method] = int(own.idxmax())
    return best


def _drawn(trials: Sequence[Trial]) -> list[str]:
    return list(dict.fromkeys(key for trial in trials for key in trial.values))
