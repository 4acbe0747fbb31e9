"""The files of a comparison's folder besides the runs: the plan, and the failures.

comparison.yaml     the runs, group by group, the target, the columns asked for, and what tuned them
failures.yaml       why runs have failed, by the name of their folder
<run>/              an ordinary run each (see `fedlab.runs.run_folder`)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedlab.comparison.group import Group, group_of, in_one_line
from fedlab.comparison.tuned import Tuned
from fedlab.config import yaml_text
from fedlab.errors import InputError
from fedlab.runs.run import Run, load_run
from fedlab.runs.run_folder import RunFolder, write_whole

PLAN, FAILURES = "comparison.yaml", "failures.yaml"


@dataclass(frozen=True)
class RunEntry:
    """A planned run.

    Attributes:
        folder: Name of its folder inside that of the comparison.
        strategy: The method, as `strategy_label` names it.
        variant: What else is set differently, by dotted key.
        seed: Its seed.
    """

    folder: str
    strategy: str
    variant: Mapping[str, Any]
    seed: int


@dataclass(frozen=True)
class Plan:
    """The plan of a comparison.

    Attributes:
        entries: The runs, group by group.
        target: A value of the first metric.
        columns: Further columns of the table.
        tuned: How the settings were chosen, if a tuning did.
    """

    entries: Sequence[RunEntry]
    target: float | None
    columns: tuple[str, ...]
    tuned: Tuned | None


def write_plan(
    folder: Path,
    entries: Sequence[RunEntry],
    target: float | None,
    columns: Sequence[str] = (),
    tuned: Tuned | None = None,
) -> None:
    """Writes the plan, and how settings were chosen if a tuning did.

    Raises:
        InputError: If the folder cannot be made or written to.
    """
    runs = [{**vars(entry), "variant": dict(entry.variant)} for entry in entries]
    plan: dict[str, Any] = {"target": target}
    if columns:
        plan["columns"] = list(columns)
    if tuned is not None:
        plan["tuned"] = vars(tuned)
    plan["runs"] = runs
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / PLAN, yaml_text.write(plan))
    except OSError as error:
        raise InputError(
            f"the folder '{folder}' cannot be written: {error.strerror or error}; "
            "choose another with --out"
        ) from error


def write_failures(folder: Path, failures: Mapping[str, str]) -> None:
    """Writes why runs have failed, by the name of their folder."""
    write_whole(folder / FAILURES, yaml_text.write(dict(failures)))


def read_groups(folder: Path) -> tuple[tuple[Group, ...], Plan]:
    """The groups of runs in a folder, and the plan.

    Raises:
        InputError: If the folder holds no comparison, or one that cannot be read.
    """
    plan = _read_plan(folder)
    failures = (_read(folder / FAILURES) if (folder / FAILURES).is_file() else None) or {}
    groups: dict[str, tuple[RunEntry, dict[int, Run], dict[int, str]]] = {}
    for entry in plan.entries:
        key = repr((entry.strategy, entry.variant))
        _, runs, missing = groups.setdefault(key, (entry, {}, {}))
        path = folder / entry.folder
        is_there = RunFolder(path).scenario_file.is_file()
        if is_there and RunFolder(path).finished:
            runs[entry.seed] = load_run(path)
        elif entry.folder in failures:
            missing[entry.seed] = f"failed: {in_one_line(failures[entry.folder])}"
        elif is_there:
            runs[entry.seed] = load_run(path)
        else:
            missing[entry.seed] = "not started"
    found = (group_of(e.strategy, e.variant, runs, why) for e, runs, why in groups.values())
    return tuple(found), plan


def _read_plan(folder: Path) -> Plan:
    file = folder / PLAN
    if not file.is_file():
        raise InputError(
            f"the folder '{folder}' holds no comparison (no {PLAN}); name one that "
            "`fedlab compare` made, or compare single runs with Comparison.of"
        )
    values = _read(file)
    try:
        entries = [RunEntry(**run) for run in values["runs"]]
        tuned = Tuned(**values["tuned"]) if "tuned" in values else None
        return Plan(entries, values["target"], tuple(values.get("columns", ())), tuned)
    except (KeyError, TypeError) as error:
        raise InputError(
            f"{file}: is not as `fedlab compare` writes it ({error}); run the same command again"
        ) from error


def _read(file: Path) -> Any:
    try:
        return yaml_text.read(file.read_text(encoding="utf-8"), str(file), bounded=False)[0]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: cannot be read: {error}") from error
