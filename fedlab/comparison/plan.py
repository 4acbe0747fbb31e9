"""The planned runs of a comparison: every method, under every setting, with every seed."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedlab.comparison.arguments import strategy_change
from fedlab.comparison.comparison_folder import RunEntry
from fedlab.comparison.equal_weighting import WEIGHTING, weighted
from fedlab.comparison.group import label_of, strategy_label
from fedlab.config import overrides as override
from fedlab.config.scenario_diff import NO_RESULT, differences
from fedlab.config.yaml_text import in_words
from fedlab.errors import InputError
from fedlab.preparation import with_pinned_data
from fedlab.runs.run_folder import RunFolder
from fedlab.scenario import Scenario
from fedlab.scenario_file import load_scenario
from fedlab.strategies.parameters import StrategyParameters

INSTEAD = {
    "seed": "--seeds (seeds=)",
    "strategy": "--strategies (strategies=)",
    "strategy.name": "--strategies (strategies=)",
}
"""Overrides that a comparison has options for."""


@dataclass(frozen=True)
class PlannedRun:
    """A planned run.

    Attributes:
        entry: Its method, setting and seed in the comparison.
        scenario: What is run.
    """

    entry: RunEntry
    scenario: Scenario


def plan(
    source: str | Path | Mapping[str, Any] | Scenario,
    strategies: Sequence[Any],
    seeds: Sequence[int],
    overrides: Sequence[str] | Mapping[str, Any],
    variants: Mapping[str, Sequence[Any]],
    fields: Mapping[str, Any],
) -> list[PlannedRun]:
    """The cross product of methods, settings and seeds, checked.

    Args:
        source: The scenario.
        strategies: Methods, in any of the forms of `strategy_change`; none stands for the
            scenario's own.
        seeds: Seeds.
        overrides: Changes for all runs.
        variants: Values to compare, by dotted key.
        fields: Changes of top-level fields for all runs.

    Raises:
        InputError: If any combination cannot be run, or stands there twice; all problems of all
            combinations are listed.
    """
    everywhere = override.parse(overrides)
    _refuse_misplaced([".".join(map(str, place)) for place in everywhere])
    _refuse_misplaced([*variants, *fields])
    settings = [
        dict(zip(variants, values, strict=True))
        for values in itertools.product(*(_listed(key, v) for key, v in variants.items()))
    ]
    chosen = [strategy_change(strategy) for strategy in strategies] or [{}]
    fixed = {".".join(map(str, place)): value for place, value in everywhere.items()}
    problems: dict[str, str] = {}
    planned: list[PlannedRun] = []
    for change, setting in itertools.product(chosen, settings):
        changes = fixed | change | setting
        wanted = setting.get(WEIGHTING, None if WEIGHTING in change else fixed.get(WEIGHTING))
        try:
            if wanted is not None:
                changes = weighted(source, changes, fields, wanted)
            loaded = [load_scenario(source, changes | {"seed": s}, **fields) for s in seeds]
            scenarios = [with_pinned_data(scenario) for scenario in loaded]
        except InputError as error:
            problems[_label(change, setting)] = str(error)
            continue
        strategy = strategy_label(scenarios[0].strategy)
        variant = {
            key: json.loads(json.dumps(value, default=str))  # as it will be read back
            for key, value in setting.items()
            if not key.startswith("strategy.")
        }
        planned += [
            PlannedRun(RunEntry("", strategy, variant, scenario.seed), scenario)
            for scenario in scenarios
        ]
    _raise_problems(problems, len(chosen) * len(settings))
    _refuse_doubles(planned)
    return with_folders(planned)


def checked_seeds(seeds: int | Sequence[int]) -> list[int]:
    """The seeds: the first so many from 0, or the given ones.

    Raises:
        InputError: If there is none, or one stands there twice.
    """
    if isinstance(seeds, int):
        if seeds < 1:
            raise InputError(f"seeds: {seeds} is no number of runs; give at least 1")
        return list(range(seeds))
    listed = list(seeds)
    if not listed:
        raise InputError("seeds: names none; give a number of seeds, or a list such as 0,3,7")
    for seed in listed:
        if not isinstance(seed, int) or seed < 0:
            raise InputError(f"seeds: {seed!r} is no seed; seeds are whole numbers from 0")
        if listed.count(seed) > 1:
            raise InputError(f"seeds: names {seed} twice; name each seed once")
    return listed


def refuse_other_runs(planned: Sequence[PlannedRun], folder: Path) -> None:
    """Refuses a folder in which another run has the place of a planned one.

    Raises:
        InputError: With what the run that is there differs in.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"'{folder}' is a file; choose a folder with --out")
    for one in planned:
        path = folder / one.entry.folder
        if not RunFolder(path).scenario_file.is_file():
            RunFolder.refuse_used(path)
            continue
        there = load_scenario(RunFolder(path).scenario_file)
        found = differences(there, one.scenario, ignore=NO_RESULT)
        if found:
            listed = ", ".join(map(str, found[:3]))
            raise InputError(
                f"the folder '{path}' holds another run, with {listed}; choose another folder with "
                "--out, or delete that run"
            )


def _refuse_misplaced(keys: Sequence[str]) -> None:
    for key in keys:
        if key in INSTEAD:
            raise InputError(f"override: {key}: is what is compared; give it by {INSTEAD[key]}")


def _listed(key: str, values: Any) -> Sequence[Any]:
    """The values of a key, each once.

    Raises:
        InputError: If they are no list, none, or one of them stands there twice.
    """
    if isinstance(values, str | bytes) or not isinstance(values, Sequence) or not values:
        raise InputError(f"variants: {key}: {values!r} is no list of values to compare")
    words = [in_words(value) for value in values]
    for word in words:
        if words.count(word) > 1:
            raise InputError(f"override: {key}: has the value {word} twice; name each once")
    if key.partition(".")[0] == "resources":
        raise InputError(f"override: {key}: never changes a result; give it one value")
    return values


def _label(change: Mapping[str, Any], setting: Mapping[str, Any]) -> str:
    """The label of a combination whose scenario could not be made."""
    whole, *parameters = [*change.items()] or [("", "")]
    if isinstance(whole[1], StrategyParameters):
        strategy = strategy_label(whole[1])
    else:
        words = (f"{key.partition('.')[2]}={in_words(value)}" for key, value in parameters)
        strategy = " ".join([str(whole[1]), *words])
    return label_of(strategy, setting).removeprefix(", ")


def _raise_problems(problems: Mapping[str, str], combinations: int) -> None:
    """Raises all problems; once, if every combination has the same."""
    if not problems:
        return
    if len(problems) == combinations and len(set(problems.values())) == 1:
        raise InputError(next(iter(problems.values())))
    raise InputError(
        "\n".join(
            f"{label}: {line}" for label, text in problems.items() for line in text.splitlines()
        )
    )


def _refuse_doubles(planned: Sequence[PlannedRun]) -> None:
    seen = set()
    for one in planned:
        label = label_of(one.entry.strategy, one.entry.variant)
        if (label, one.entry.seed) in seen:
            raise InputError(f"strategies: {label} stands there twice; name each method once")
        seen.add((label, one.entry.seed))


def with_folders(planned: Sequence[PlannedRun]) -> list[PlannedRun]:
    """Names folders after method, setting and seed, as short as keeps the names distinct."""
    groups: dict[str, str] = {}
    for one in planned:
        label = label_of(one.entry.strategy, one.entry.variant)
        short = {key.rpartition(".")[2]: v for key, v in one.entry.variant.items()}
        few = short if len(short) == len(one.entry.variant) else one.entry.variant
        name = "-".join([one.entry.strategy, *(f"{k}={in_words(v)}" for k, v in few.items())])
        groups[label] = re.sub(r"[^\w.=+-]+", "-", name).strip("-.")[:80]
    taken = list(groups.values())
    for label, name in groups.items():
        if taken.count(name) > 1:
            groups[label] = f"{name}-{hashlib.sha256(label.encode()).hexdigest()[:6]}"
    return [
        PlannedRun(
            RunEntry(
                f"{groups[label_of(e.strategy, e.variant)]}-s{e.seed}",
                e.strategy,
                e.variant,
                e.seed,
            ),
            one.scenario,
        )
        for one in planned
        for e in [one.entry]
    ]
