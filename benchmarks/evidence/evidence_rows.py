"""Rows of finished runs, and the files that keep them: one row a run, one a round of a curve.

``CLAIM.csv`` has for each run the claim, study, method, seed, mean over domains in per cent,
rounds, what was chosen for the method, its validation, seconds, the command that repeats the row,
machine, date, version, and a column for each domain. ``CLAIM_curve.csv`` has for each study, method
and evaluated round the mean over seeds and the ends of its 95 % interval.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas
from scipy.special import stdtrit

from benchmarks import machine
from benchmarks.evidence.claim import Claim, Study
from benchmarks.evidence.study_commands import row_command, sets_aside
from fedlab import Comparison, Run, Tuning, __version__
from fedlab.row import GLOBAL
from fedlab.runs.curves import costs, learning_curves
from fedlab.runs.metrics import ACCURACY

if TYPE_CHECKING:
    from fedlab.comparison.group import Group

RESULTS = Path(__file__).parents[1] / "results" / "evidence"
FIRST = ["claim", "study", "method", "seed", "mean", "rounds", "chosen", "validation", "seconds"]
LAST = ["command", "machine", "date", "version"]
CURVE = ["study", "method", "round", "mean", "low", "high", "seeds"]


def chosen_for(
    claim: Claim, study: Study, folders: Path, results: Path = RESULTS
) -> dict[str, tuple[Mapping[str, Any], float]]:
    """What was chosen for each method of a study: values by dotted key, and their validation.

    They are those of the study that tunes for it: of its tuning where that was run here, else of
    its kept rows, so that a study beside the others does not ask for the tuning again.

    Returns:
        Nothing where there is neither.
    """
    tuned = claim.studies[study.chosen_in or study.name]
    if (folders / tuned.name / "tuned.yaml").is_file():
        tuning = Tuning.open(folders / tuned.name)
        scores = tuning.summary()["score"]
        pairs = zip(tuned.methods, tuning.chosen.items(), strict=True)
        return {label: (values, float(scores[name])) for label, (name, values) in pairs}
    if study.chosen_in is None:
        return {}
    kept = read(claim.name, results)
    kept = kept[kept["study"] == tuned.name].drop_duplicates("method").set_index("method")
    return {
        str(label): (json.loads(r["chosen"]), r["validation"] / 100) for label, r in kept.iterrows()
    }


def groups_of(folder: Path, study: Study) -> dict[str, Group]:
    """The runs of each method of a study, as far as they have been run."""
    if study.chosen_in is None:
        groups = Comparison.open(folder / "comparison").groups
        return dict(zip(study.methods, groups, strict=True))
    found = {}
    for label in study.methods:
        if (folder / slug(label) / "comparison.yaml").is_file():
            found[label] = Comparison.open(folder / slug(label)).groups[0]
    return found


def rows_of(
    claim: Claim, study: Study, folders: Path, results: Path = RESULTS
) -> list[dict[str, Any]]:
    """The rows of a study's finished runs.

    Args:
        claim: The claim.
        study: One of its studies.
        folders: The claim's folder, which has one for each study.
        results: Where rows are kept.
    """
    rows, chosen = [], chosen_for(claim, study, folders, results)
    if not chosen:
        return []
    for label, group in groups_of(folders / study.name, study).items():
        values, validation = chosen[label]
        for seed, run in sorted(group.runs.items()):
            domains = curve_of(run, claim, study).iloc[-1]
            row = {
                "claim": claim.name,
                "study": study.name,
                "method": label,
                "seed": seed,
                "mean": round(100 * domains.mean(), 3),
                "rounds": run.rounds,
                "chosen": json.dumps(dict(values)),
                "validation": round(100 * validation, 3),
                "seconds": round(_seconds(run), 1),
                "command": row_command(
                    study, study.methods[label], values, seed, sets_aside(claim, study)
                ),
                "machine": machine.arithmetic(),
                "date": _day(run).isoformat(),
                "version": __version__,
            }
            rows.append(row | {name: round(100 * value, 3) for name, value in domains.items()})
    return rows


def curve_of(run: Run, claim: Claim, study: Study) -> pandas.DataFrame:
    """Accuracy by evaluated round (the index) and domain, of the models that the claim is about."""
    history = run.history
    if claim.measure == "own":
        found = learning_curves(history)
    else:
        rows = history[(history["split"] == "test") & (history["metric"] == ACCURACY)]
        rows = rows[(rows["client"] == GLOBAL) & (rows["domain"] != "")]
        found = rows.pivot(index="round", columns="domain", values="value")
    return found[list(study.domains)] if study.domains else found


def curves_of(claim: Claim, study: Study, folders: Path) -> list[dict[str, Any]]:
    """The curves of a study: mean over domains in per cent, over seeds, with its interval."""
    if study.chosen_in is None and not (folders / study.name / "tuned.yaml").is_file():
        return []
    rows = []
    for label, group in groups_of(folders / study.name, study).items():
        means = [curve_of(run, claim, study).mean(axis="columns") for run in group.runs.values()]
        if not means:
            continue
        table = 100 * pandas.concat(means, axis="columns", join="inner")
        count = table.shape[1]
        margin = table.std(axis="columns", ddof=1) / math.sqrt(count)
        margin *= float(stdtrit(max(count - 1, 1), 0.975))
        mean = table.mean(axis="columns")
        rows += [
            dict(zip(CURVE, (study.name, label, r, *values, count), strict=True))
            for r, values in zip(
                table.index, zip(mean, mean - margin, mean + margin, strict=True), strict=True
            )
        ]
    return rows


def write(claim: Claim, folders: Path, results: Path = RESULTS) -> None:
    """Brings both files of a claim up to date.

    Rows of studies without a folder here are kept, and so are those of a method that has been run
    here with fewer seeds than they have, so that a run that was stopped takes none away.
    """
    results.mkdir(parents=True, exist_ok=True)
    rows, curves = [], []
    for study in claim.studies.values():
        rows += rows_of(claim, study, folders, results)
        curves += curves_of(claim, study, folders)
    _replace(results / f"{claim.name}.csv", rows, [*FIRST, *LAST], claim)
    _replace(results / f"{claim.name}_curve.csv", curves, CURVE, claim)


def read(name: str, results: Path = RESULTS) -> pandas.DataFrame:
    """The rows of a claim; none before it is run."""
    file = results / f"{name}.csv"
    return pandas.read_csv(file) if file.is_file() else pandas.DataFrame(columns=[*FIRST, *LAST])


def read_curve(name: str, results: Path = RESULTS) -> pandas.DataFrame:
    """The curves of a claim; none before it is run."""
    file = results / f"{name}_curve.csv"
    return pandas.read_csv(file) if file.is_file() else pandas.DataFrame(columns=CURVE)


def kept(results: Path = RESULTS) -> list[str]:
    """The names of all files of rows."""
    return sorted(p.stem for p in results.glob("*.csv") if not p.stem.endswith("_curve"))


def slug(label: str) -> str:
    """A label as a folder's name."""
    return "".join(c if c.isalnum() else "-" for c in label)


def _replace(file: Path, rows: Iterable[Mapping[str, Any]], first: list[str], claim: Claim) -> None:
    new = pandas.DataFrame(list(rows))
    if new.empty:
        return
    old = pandas.read_csv(file) if file.is_file() else new.iloc[:0]
    before, now = _seeds_by_place(old), _seeds_by_place(new)
    new = new[[now[place] >= before.get(place, 0) for place in _places(new)]]
    if new.empty:
        return
    written = set(_places(new))
    kept = old[[place not in written for place in _places(old)]]
    whole = pandas.concat([kept, new], ignore_index=True) if len(kept) else new
    order = {name: place for place, name in enumerate(claim.studies)}
    whole = whole.sort_values("study", key=lambda column: column.map(order), kind="stable")
    others = [column for column in whole.columns if column not in first]
    whole[[*first, *others]].round(3).to_csv(file, index=False)


def _places(rows: pandas.DataFrame) -> list[tuple[str, str]]:
    return list(zip(rows["study"], rows["method"], strict=True))


def _seeds_by_place(rows: pandas.DataFrame) -> dict[tuple[str, str], int]:
    """How many seeds rows, or the points of a curve, are of, by study and method."""
    found: dict[tuple[str, str], int] = {}
    given = rows["seeds"] if "seeds" in rows else [None] * len(rows)
    for place, seeds in zip(_places(rows), given, strict=True):
        found[place] = found.get(place, 0) + 1 if seeds is None else int(seeds)
    return found


def _seconds(run: Run) -> float:
    return float(costs(run.history)["seconds"].iloc[-1])


def _day(run: Run) -> date:
    return date.fromtimestamp((run.folder / "finished.json").stat().st_mtime)
