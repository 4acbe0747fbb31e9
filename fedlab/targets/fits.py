"""Compatibility of a scenario's parts with its target, and defaults that depend on the target."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from fedlab.config import registry
from fedlab.config.component import Component
from fedlab.config.experiment import Experiment
from fedlab.errors import FedlabError
from fedlab.targets.base import CLASS, MULTI_LABEL, PROPORTIONS, Target

DEFAULTS = {"training": "loss", "evaluation": "metrics"}
"""The block, and its key, that a target has a default for, by the target's attribute."""


def with_defaults(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """A scenario's values with the target's loss and metrics where none are given.

    Args:
        values: As they were given: plain values, or blocks. A target of classes keeps the blocks'
            own defaults; only bags of samples set another loss.
    """
    said = _in(values.get("data"), "target")
    try:
        target = Target.choose(said) if said is not None else None
    except ValueError:
        return values  # refused where the block is read
    filled = dict(values)
    if not isinstance(target, Target) or target.kind == CLASS:
        if _in(values.get("partition"), "label_proportions") is not None:
            _fill(filled, "training", "loss", PROPORTIONS)
        return filled
    for block, key in DEFAULTS.items():
        _fill(filled, block, key, getattr(target, key))
    return filled


def _in(block: Any, key: str) -> Any:
    """A value of a block, plain or read."""
    return block.get(key) if isinstance(block, Mapping) else getattr(block, key, None)


def _fill(values: dict[str, Any], block: str, key: str, default: Any) -> None:
    """Puts a default into a block that does not have the key."""
    given = values.get(block)
    if isinstance(given, BaseModel):
        if key not in given.model_fields_set:
            values[block] = type(given).model_validate({**_set(given), key: default})
    elif given is None or (isinstance(given, Mapping) and key not in given):
        values[block] = {**(given or {}), key: default}


def _set(block: BaseModel) -> dict[str, Any]:
    return {name: getattr(block, name) for name in block.model_fields_set}


def refuse_other_targets(scenario: Experiment) -> None:
    """Refuses parts of a scenario that do not support its target.

    Raises:
        ValueError: With the key, the value and those that go.
    """
    target: Target = scenario.data.target
    learnt, why = target.kind, f"data.target is '{target.name}'"
    if scenario.partition.label_proportions:
        if learnt != CLASS:
            raise ValueError(
                "partition.label_proportions: bags have shares of classes, and data.target is "
                f"'{target.name}'; leave one of the two out"
            )
        learnt, why = PROPORTIONS, "partition.label_proportions leaves no sample its own label"
    positives = scenario.partition.label_budget.positives
    if positives < 1 and target.kind != MULTI_LABEL:
        raise ValueError(
            f"partition.label_budget.positives: {positives:g} is a share of labels that hold, of "
            f"data.target multi_label, and data.target is '{target.name}'; leave it out, or use "
            "partition.label_budget.share, the share of labelled samples"
        )
    for key, part in _parts_that_train(scenario):
        _refuse(key, part, learnt, why)
    for key, part in _parts_that_test(scenario):
        _refuse(key, part, target.kind, f"data.target is '{target.name}'")


def _refuse(key: str, part: Any, kind: str, why: str) -> None:
    kinds: frozenset[str] = part.targets
    if kind not in kinds:
        others = ", ".join(_going(part.group, kind))
        raise ValueError(
            f"{key}: '{part.name}' goes with {_words(kinds)}, and {why}; "
            f"use {_choice(others)}a class of your own whose `targets` names '{kind}'"
        )


def _words(kinds: frozenset[str]) -> str:
    """What goes with these kinds, by the keys of a scenario."""
    targets = sorted(kinds - {PROPORTIONS})
    parts = ["data.target " + " and ".join(targets)] * bool(targets)
    return " and ".join([*parts, *["partition.label_proportions"] * (PROPORTIONS in kinds)])


def _choice(others: str) -> str:
    return f"one of {others}, or " if others else ""


def _parts_that_train(scenario: Experiment) -> Iterator[tuple[str, Any]]:
    """Everything that learns from what clients know of their samples."""
    yield "strategy.name", scenario.strategy
    base: Any = getattr(scenario.strategy, "base", None)
    if isinstance(base, Component):
        yield "strategy.base", base
    yield "training.loss", scenario.training.loss
    yield "data.features", scenario.data.features


def _parts_that_test(scenario: Experiment) -> Iterator[tuple[str, Any]]:
    """Everything that reads the labels of the data themselves."""
    for metric in scenario.evaluation.metrics:
        yield "evaluation.metrics", metric
    yield "partition.label_noise", scenario.partition.label_noise


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
