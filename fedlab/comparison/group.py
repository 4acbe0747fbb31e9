"""Runs that differ in their seed alone, and the label of a group of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from fedlab.comparison.statistics import RunOutcome, outcome
from fedlab.config.defaults import chosen
from fedlab.config.yaml_text import in_words
from fedlab.errors import InputError
from fedlab.metrics.metric_set import ACCURACY_SCORE, Score
from fedlab.runs.run import Run
from fedlab.strategies.parameters import StrategyParameters

NOT_TESTED = "no round of it was evaluated"


@dataclass(frozen=True)
class Group:
    """A method under one setting, over seeds.

    Attributes:
        strategy: The method, with those of its parameters that differ from their defaults.
        variant: What else is set differently in this group, by dotted key.
        runs: Finished runs by seed.
        missing: Why there is no finished run of a seed, by seed.
    """

    strategy: str
    variant: Mapping[str, Any] = field(default_factory=dict)
    runs: Mapping[int, Run] = field(default_factory=dict)
    missing: Mapping[int, str] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """Strategy and variant in words."""
        return label_of(self.strategy, self.variant)

    @property
    def seeds(self) -> tuple[int, ...]:
        """All planned seeds, finished or not."""
        return tuple(sorted([*self.runs, *self.missing]))

    def missing_reason(self, seed: int) -> str:
        """Why there is no outcome of a seed."""
        return self.missing.get(seed, NOT_TESTED)

    @property
    def score(self) -> Score:
        """The score of its runs: the first metric of their scenario."""
        run = next(iter(self.runs.values()), None)
        return run.metric_set.first if run else ACCURACY_SCORE

    @cached_property
    def outcomes(self) -> dict[int, RunOutcome]:
        """The results of the finished runs, by seed; runs without a test are left out."""
        found = {seed: outcome(self.runs[seed].history, self.score) for seed in sorted(self.runs)}
        return {seed: one for seed, one in found.items() if one is not None}


def label_of(strategy: str, variant: Mapping[str, Any]) -> str:
    """``fedprox mu=0.1, partition.labels.alpha=0.3``."""
    return ", ".join([strategy, *(f"{key}={in_words(value)}" for key, value in variant.items())])


def strategy_label(parameters: StrategyParameters) -> str:
    """A strategy's name, and the parameters that differ from their defaults: ``fedprox mu=0.1``."""
    words = [f"{key}={in_words(value)}" for key, value in chosen(parameters).items()]
    return " ".join([parameters.name, *words]).replace("__main__:", "")


def in_one_line(reason: str) -> str:
    """The first and the last line of a reason that may hold a traceback."""
    first, *more = reason.strip().splitlines() or ["no reason given"]
    return f"{first} ... {more[-1].strip()}" if more else first


def group_of(
    strategy: str,
    variant: Mapping[str, Any],
    runs: Mapping[int, Run],
    missing: Mapping[int, str] | None = None,
) -> Group:
    """A group of runs; unfinished ones become missing."""
    absent = dict(missing or {})
    for seed, run in runs.items():
        if not run.finished:
            done = f"not finished: {run.rounds} of {run.scenario.rounds} rounds"
            absent.setdefault(seed, done)
    finished = {seed: run for seed, run in runs.items() if seed not in absent}
    return Group(strategy, variant, finished, absent)


def checked_target(target: float | None, score: Score = ACCURACY_SCORE) -> float | None:
    """Refuses a target that the score cannot have.

    Raises:
        InputError: If it is not finite or, of a share, not above 0 and at most 1.
    """
    if target is not None and score.share and not 0 < target <= 1:
        raise InputError(f"target: {target:g} must be above 0 and at most 1, such as 0.8 for 80 %")
    if target is not None and not math.isfinite(target):
        raise InputError(f"target: {target:g} is no value of {score.name}; give a finite number")
    return target
