"""Checks of the ``updates`` block before training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from fedlab.errors import InputError
from fedlab.strategies.base import Strategy

if TYPE_CHECKING:
    from fedlab.scenario import Scenario


def check_updates(scenario: Scenario, strategy: type[Strategy], model: nn.Module) -> None:
    """Refuses settings that the method does not support, or that would have no effect.

    Args:
        scenario: The experiment.
        strategy: Its method's strategy.
        model: Its network.

    Raises:
        InputError: With the reason and the remedy.
    """
    updates, name = scenario.updates, scenario.strategy.name
    if updates.is_plain:
        return
    if not strategy.takes_changed_updates:
        raise InputError(
            f"updates: {name} looks at replies by itself, so that nothing can be done to them on "
            "their way; leave updates out, or choose another strategy"
        )
    shared, _ = scenario.strategy.divide(model, strategy.norm_policy)
    if not shared:
        raise InputError(f"updates: {name} sends no model, so that there is nothing to change")
    if updates.compression.name != "none" and scenario.participation.update_norm is not None:
        raise InputError(
            "participation.update_norm: an update that is compressed has no norm before it is "
            "unpacked; leave one of update_norm and updates.compression out"
        )
    if updates.rule.name != "mean":
        _check_rule(scenario, strategy)


def _check_rule(scenario: Scenario, strategy: type[Strategy]) -> None:
    rule, name = scenario.updates.rule, scenario.strategy.name
    if not strategy.asks_for_means:
        raise InputError(
            f"updates.rule: {rule.name} has no effect on {name}, which takes no mean of what "
            "clients send; leave updates.rule out"
        )
    if scenario.privacy is not None:
        raise InputError(
            f"updates.rule: noise is counted for a mean, and {rule.name} is none; leave one of "
            "privacy and updates.rule out"
        )
    if not rule.weighted and scenario.strategy.weighting != "uniform":
        raise InputError(
            f"updates.rule: {rule.name} counts every client the same, and strategy.weighting says "
            f"'{scenario.strategy.weighting}'; set strategy.weighting=uniform"
        )
    ruled = scenario.strategy.clients_count == "rule"
    if (ruled and not strategy.overrides("weight")) or (
        not rule.weighted and strategy.overrides("weight")
    ):
        raise InputError(
            f"updates.rule: {name} has its own weights for clients, which {rule.name} would leave "
            "out; leave updates.rule out, or use another strategy"
        )
    if too_few := rule.least(scenario.cohort_size):
        raise InputError(
            f"updates.rule: {rule.name}: {too_few}; lower its share, or let more clients take part"
        )
