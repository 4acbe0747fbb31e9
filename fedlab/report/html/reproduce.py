"""The section on reproduction: settings, commands, environment."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fedlab.comparison.comparison import Comparison
from fedlab.comparison.plan import plan
from fedlab.config.builtin_scenarios import shipped_scenarios
from fedlab.config.component import Component, ConfigBlock
from fedlab.config.scenario_diff import differences, flatten
from fedlab.config.yaml_text import in_words
from fedlab.errors import InputError
from fedlab.runs.run import Run
from fedlab.runs.run_folder import RunFolder
from fedlab.scenario import Scenario
from fedlab.scenario_file import load_scenario, to_yaml

BLOCKS = ("data", "partition", "model", "training", "participation", "evaluation", "engine")


@dataclass(frozen=True)
class Repeat:
    """Settings, commands and environment that reproduce the numbers.

    Attributes:
        settings: What the scenario sets, by block; defaults are left out.
        together: One command for all runs, if there is one.
        commands: One for each run.
        environment: What the runs were made with, by what it is.
        scenario: The whole scenario of the first run, as YAML.
    """

    settings: Mapping[str, str]
    together: str
    commands: list[str]
    environment: Mapping[str, str]
    scenario: str


def repeat(comparison: Comparison) -> Repeat:
    """Settings, commands and environment of all runs.

    Raises:
        InputError: If a run's ``environment.json`` cannot be read.
    """
    first = comparison.runs[0].scenario
    blocks = {block: summarise(getattr(first, block)) for block in BLOCKS}
    methods = ", ".join(group.label for group in comparison.groups)
    return Repeat(
        settings={"strategies": methods}
        | {block: shown for block, shown in blocks.items() if shown},
        together=together(comparison),
        commands=[command(run) for run in comparison.runs],
        environment=_environment(comparison),
        scenario=to_yaml(first),
    )


def summarise(value: Any) -> str:
    """A block of a scenario in a line: names of components, and what differs from its default."""
    if isinstance(value, tuple):
        return ", ".join(map(summarise, value))
    if not isinstance(value, ConfigBlock):
        return in_words(value)
    name = value.name if isinstance(value, Component) else ""
    shown = []
    for key, field in type(value).model_fields.items():
        inner = getattr(value, key)
        default = field.get_default(call_default_factory=True)
        if key != "name" and (isinstance(inner, Component) or inner != default):
            words = summarise(inner)
            shown.append(f"{key}: {f'({words})' if words and is_block(inner) else words}")
    more = ", ".join(shown)
    return f"{name} ({more})" if name and more else name or more


def is_block(value: Any) -> bool:
    """Whether a value is a block of settings without a name."""
    return isinstance(value, ConfigBlock) and not isinstance(value, Component)


def together(comparison: Comparison) -> str:
    """The `fedlab compare` command that plans exactly these runs; empty if there is none.

    There is none for scenarios that do not come with fedlab, for variants, and for missing runs.
    """
    runs = comparison.runs
    name = runs[0].scenario.name
    seeds = comparison.seeds
    if len(runs) < 2 or comparison.variant_keys or name not in shipped_scenarios():
        return ""
    changes = [
        change
        for change in _changes(load_scenario(name), runs[0].scenario)
        if change.split("=")[0].split(".")[0] not in ("strategy", "seed")
    ]
    strategies = [group.strategy for group in comparison.groups]
    try:
        planned = plan(name, strategies, seeds, changes, {}, {})
    except InputError:
        return ""
    if [one.scenario for one in planned] != [run.scenario for run in runs]:
        return ""
    counted = seeds == tuple(range(len(seeds)))
    words = ["fedlab", "compare", name, *changes, "--strategies", ",".join(strategies), "--seeds"]
    return shlex.join([*words, str(len(seeds)) if counted else ",".join(map(str, seeds))])


def command(run: Run) -> str:
    """A command that runs the same scenario again.

    That of a scenario that comes with fedlab names it and what was changed; any other is in the
    run's folder.
    """
    scenario = run.scenario
    if scenario.name in shipped_scenarios():
        changes = _changes(load_scenario(scenario.name), scenario)
        if load_scenario(scenario.name, changes) == scenario:
            return shlex.join(["fedlab", "simulate", scenario.name, *changes])
    return shlex.join(["fedlab", "simulate", str(RunFolder(run.folder).scenario_file)])


def _changes(origin: Scenario, scenario: Scenario) -> list[str]:
    """The overrides that turn one scenario into the other."""
    changes = []
    if origin.strategy.name != scenario.strategy.name:
        changes.append(f"strategy={scenario.strategy.name}")
        origin = load_scenario(origin, changes)
    named = flatten(scenario)
    found = [each for each in differences(origin, scenario) if each.key in named]
    return changes + [f"{each.key}={in_words(each.after)}" for each in found]


def _environment(comparison: Comparison) -> dict[str, str]:
    """Versions and hardware of the runs; where they differ, all of them."""
    found: dict[str, dict[str, None]] = {}
    for run in comparison.runs:
        file = RunFolder(run.folder).environment_file
        try:
            facts = json.loads(file.read_text(encoding="utf-8"))
            words = {**facts, **facts.pop("packages")}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{file}: is not as `fedlab simulate` writes it ({error}); leave this run out"
            ) from error
        words.pop("packages", None)
        for name, value in words.items():
            shown = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            shown = shown[:12] + "+" * shown.endswith("+") if name == "git_commit" else shown
            if value not in (None, []):
                found.setdefault(TITLES.get(name, name), {})[shown] = None
    return {name: " / ".join(values) for name, values in found.items()}


TITLES = {"cpu_count": "CPU cores", "gpus": "GPUs", "git_commit": "commit"}
"""What parts of the environment are called on the page."""
