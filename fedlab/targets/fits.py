"""Compatibility of a scenario's parts with its target, and defaults that depend on the target."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from fedlab.config import registry
from fedlab.config.component import Component
from fedlab.config.experiment import Experiment
from fedlab.errors import FedlabError
from fedlab.targets.base import CLASS, MULTI_LABEL, Target

DEFAULTS = {"training": "loss", "evaluation": "metrics"}
"""The block, and its key, that a target has a default for, by the target's attribute."""


def with_defaults(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """A scenario's values with the target's loss and metrics where none are given.

    Args:
        values: As they were given: plain values, or blocks. Those of classes are the blocks' own.
    """
    data = values.get("data")
    said = data.get("target") if isinstance(data, Mapping) else getattr(data, "target", None)
    try:
        target = Target.choose(said) if said is not None else None
    except ValueError:
        return values  # refused where the block is read
    if not isinstance(target, Target) or target.kind == CLASS:
        return values
    filled = dict(values)
    for block, key in DEFAULTS.items():
        given, default = filled.get(block), getattr(target, key)
        if isinstance(given, BaseModel):
            if key not in given.model_fields_set:
                filled[block] = type(given).model_validate({**_set(given), key: default})
        elif given is None or (isinstance(given, Mapping) and key not in given):
            filled[block] = {**(given or {}), key: default}
    return filled


def _set(block: BaseModel) -> dict[str, Any]:
    return {name: getattr(block, name) for name in block.model_fields_set}


def refuse_other_targets(scenario: Experiment) -> None:
    """Refuses parts of a scenario that do not support its target.

    Raises:
        ValueError: With the key, the value and those that go.
    """
    target: Target = scenario.data.target
    for key, part in _parts(scenario):
        kinds: frozenset[str] = part.targets
        if target.kind not in kinds:
            others = ", ".join(_going(part.group, target.kind))
            raise ValueError(
                f"{key}: '{part.name}' goes with data.target {' and '.join(sorted(kinds))}, and "
                f"data.target is '{target.name}'; use {_choice(others)}"
                f"a class of your own whose `targets` names '{target.kind}'"
            )
    positives = scenario.partition.label_budget.positives
    if positives < 1 and target.kind != MULTI_LABEL:
        raise ValueError(
            f"partition.label_budget.positives: {positives:g} is a share of labels that hold, of "
            f"data.target multi_label, and data.target is '{target.name}'; leave it out, or use "
            "partition.label_budget.share, the share of labelled samples"
        )


def _choice(others: str) -> str:
    return f"one of {others}, or " if others else ""


def _parts(scenario: Experiment) -> Iterator[tuple[str, Any]]:
    """Everything in a scenario that declares the targets it supports."""
    yield "strategy.name", scenario.strategy
    base: Any = getattr(scenario.strategy, "base", None)
    if isinstance(base, Component):
        yield "strategy.base", base
    yield "training.loss", scenario.training.loss
    for metric in scenario.evaluation.metrics:
        yield "evaluation.metrics", metric
    yield "partition.label_noise", scenario.partition.label_noise
    yield "data.features", scenario.data.features


def _going(group: str, kind: str) -> list[str]:
    """Registered names of a group that support a kind of target."""
    found = []
    for name in registry.names(group):
        try:
            block: Any = Component.block_of(registry.resolve(group, name))
        except FedlabError:  # an installed package that cannot be imported
            continue
        if kind in getattr(block, "targets", ()):
            found.append(name)
    return found
