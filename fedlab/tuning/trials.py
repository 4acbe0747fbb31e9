"""The runs of a tuning: every method with every draw, each checked before anything is trained."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from fedlab.comparison.arguments import strategy_change
from fedlab.comparison.group import strategy_label
from fedlab.config import overrides as override
from fedlab.config.ranges import LogUniform, Uniform
from fedlab.config.yaml_text import in_words
from fedlab.errors import InputError
from fedlab.preparation import with_pinned_data
from fedlab.scenario import Scenario
from fedlab.scenario_file import load_scenario
from fedlab.tuning.samplers import OptunaSampler, RandomSampler, Sampler, SamplerName
from fedlab.tuning.space import Space

LONGEST = 80
"""Letters of a method in a folder's name."""


@dataclass(frozen=True)
class Trial:
    """A method with the values of one draw and one seed.

    Attributes:
        method: The method, as the user named it, with parameters that differ from defaults.
        number: Which draw, from 0.
        values: What was drawn, by dotted key; nothing for draw 0.
        scenario: What is run.
        left_out: The domain that it is trained without and judged by, if there is one.
    """

    method: str
    number: int
    values: Mapping[str, Any]
    scenario: Scenario
    left_out: str | None = None

    @property
    def folder(self) -> str:
        """Name of its run's folder inside that of the tuning."""
        without = f"-without-{folder_name(self.left_out)}" if self.left_out is not None else ""
        return f"draws/{folder_name(self.method)}-d{self.number}-s{self.scenario.seed}{without}"


def folder_name(method: str) -> str:
    """A method or domain as a part of a folder's name; shortened with a hash if it is long."""
    name = re.sub(r"[^\w.=+-]+", "-", method).strip("-.")
    if len(name) <= LONGEST:
        return name
    return f"{name[: LONGEST - 7]}-{hashlib.sha256(method.encode()).hexdigest()[:6]}"


@dataclass(frozen=True)
class TuningRequest:
    """The scenario, methods and changes that a tuning was asked for.

    Attributes:
        source: The scenario, its file, or the name of one that comes with fedlab.
        strategies: Methods, in any of the forms of `strategy_change`.
        overrides: Changes for all runs.
        fields: Changes of top-level fields for all runs.
        standard: What a tuning changes in all runs.
    """

    source: str | Path | Mapping[str, Any] | Scenario
    strategies: Sequence[Any]
    overrides: Sequence[str] | Mapping[str, Any] = ()
    fields: Mapping[str, Any] | None = None
    standard: Mapping[str, Any] = field(default_factory=dict)

    def scenario(
        self,
        strategy: Any,
        values: Mapping[str, Any],
        seed: int,
        last: Mapping[str, Any] | None = None,
    ) -> Scenario:
        """A method's scenario with some values and a seed; `last` overrides all others."""
        fixed = {".".join(map(str, k)): v for k, v in override.parse(self.overrides).items()}
        change = strategy_change(strategy) if strategy is not None else {}
        changes = dict(self.standard) | fixed | change | dict(values) | {"seed": seed}
        changes |= last or {}
        return with_pinned_data(load_scenario(self.source, changes, **(self.fields or {})))


def samplers_of(
    asked: TuningRequest, space: Space, name: SamplerName, seed: int
) -> list[tuple[Any, str, Sampler]]:
    """Each method with its label and its sampler.

    Raises:
        InputError: If a method stands there twice, the space has something for a method that is
            not tuned, or the sampler is not available.
    """
    found: list[tuple[Any, str, Sampler]] = []
    listed = asked.strategies or [None]
    plains = [asked.scenario(strategy, {}, seed) for strategy in listed]
    space.refuse_own(list(dict.fromkeys(plain.strategy.name for plain in plains)))
    for strategy, plain in zip(listed, plains, strict=True):
        method = strategy_label(plain.strategy)
        written = strategy_change(strategy) if strategy is not None else {}
        # "fedprox mu=5" is meant as it is written.
        own = {key: each for key, each in space.of(plain).items() if key not in written}
        if any(method == known for _, known, _ in found):
            raise InputError(f"strategies: {method} stands there twice; name each method once")
        sampler: Sampler = RandomSampler(space.shared, own, method, seed)
        if name != "random":
            # Its later proposals come after draws have been trained: a wrong key is an error now.
            trials_of(asked, space, strategy, method, 1, sampler.propose(1), [seed])
            sampler = OptunaSampler(name, {**space.shared, **own}, method, seed)
        found.append((strategy, method, sampler))
    return found


def trials_of(
    asked: TuningRequest,
    space: Space,
    strategy: Any,
    method: str,
    number: int,
    values: Mapping[str, Any],
    seeds: Sequence[int],
    left_out: Mapping[str, Mapping[str, Any]] | None = None,
) -> list[Trial]:
    """One draw of a method, with every seed.

    Args:
        asked: What is tuned.
        space: What is drawn from.
        strategy: The method as it was asked for.
        method: Its label.
        number: Which draw.
        values: What was drawn.
        seeds: The seeds.
        left_out: Domains without which it is trained in turn, and what changes for each.

    Raises:
        InputError: If a drawn value, or a key of the space, is refused.
    """
    found: list[Trial] = []
    whole: dict[str | None, Mapping[str, Any]] = {None: {}}
    for seed, (domain, last) in product(seeds, (left_out or whole).items()):
        try:
            chosen = asked.scenario(strategy, values, seed, last)
        except InputError as error:
            raise InputError(_refusal(asked, space, strategy, method, values, error)) from error
        found.append(Trial(method, number, values, chosen, domain))
    return found


def _refusal(
    asked: TuningRequest,
    space: Space,
    strategy: Any,
    method: str,
    values: Mapping[str, Any],
    error: InputError,
) -> str:
    """Why values cannot be drawn: the first one at fault, or all together."""
    why = str(error).removeprefix("override: ")
    for key, value in values.items():
        others = {other: each for other, each in values.items() if other != key}
        try:
            plain = asked.scenario(strategy, others, 0)
        except InputError:
            continue
        place = space.place(key, plain.strategy.name)
        drawn = {**space.shared, **space.of(plain)}.get(key)
        if isinstance(drawn, Uniform | LogUniform) and _takes(asked, strategy, values, key):
            low, high = math.ceil(drawn.low), math.floor(drawn.high)
            return (
                f"{place}: takes whole numbers, and {in_words(drawn.to_yaml())} draws others, "
                f"such as {in_words(value)}; use {{integers: [{low}, {high}]}}"
            )
        return f"{place}: {in_words(value)}: {method}: {why}"
    drawn = ", ".join(f"{key}={in_words(value)}" for key, value in values.items())
    return f"{space.file}: {method} with {drawn or 'nothing drawn'}: {why}"


def _takes(asked: TuningRequest, strategy: Any, values: Mapping[str, Any], key: str) -> bool:
    """Whether the method takes the nearest whole number in place of a drawn one."""
    try:
        asked.scenario(strategy, {**values, key: round(values[key])}, 0)
    except InputError:
        return False
    return True


def value_of(scenario: Scenario, key: str) -> Any:
    """A scenario's value of a dotted key."""
    value: Any = scenario.model_dump(mode="json")
    for part in key.split("."):
        value = value[int(part)] if isinstance(value, list) else value[part]
    return value
