"""Parameters of a method that others switch off: refused where given, and not drawn by tuning."""

from __future__ import annotations

from typing import Any

import pytest

from fedlab import InputError
from fedlab.scenario_file import load_scenario
from fedlab.tuning.space import Space

IDLE: list[tuple[dict[str, Any], str]] = [
    ({"name": "f2dc", "alpha": 2.0}, "alpha 2.0 would have no effect: the rule .* needs domains"),
    ({"name": "f2dc", "beta": 0.1}, "beta 0.1 would have no effect"),
    ({"name": "fraug", "schedule": "constant", "gamma": 3}, "gamma 3.0 would have no effect"),
    ({"name": "fedheal", "fair": False, "beta": 0.1}, "beta 0.1 .* fair is false"),
    ({"name": "fedheal", "consistent": False, "tau": 0.1}, "tau 0.1 .* consistent is false"),
    ({"name": "fedlabel", "labeller": "local", "confidence": "entropy"}, "labeller is 'local'"),
    ({"name": "fedlabel", "labeller": "global", "scores": "probabilities"}, "labeller is 'global'"),
    ({"name": "fedlabel", "confidence": "entropy", "scores": "probabilities"}, "scores 'prob"),
    (
        {"name": "fedlabel", "consistency": 0, "divergence": "teacher_student"},
        "divergence .* consistency is 0",
    ),
    (
        {"name": "fedlabel", "unlabelled_steps": 3, "unlabelled_epochs": 2},
        "unlabelled_epochs 2 .* instead of passes",
    ),
]


@pytest.mark.parametrize(("block", "reason"), IDLE)
def test_what_has_no_effect_is_refused(block: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        load_scenario("smoke", strategy=block)


@pytest.mark.parametrize(
    "block",
    [
        {"name": "f2dc", "alpha": 2.0, "domains": 3},
        {"name": "fraug", "gamma": 3},
        {"name": "fedheal", "fair": False, "tau": 0.1},
        {"name": "fedlabel", "confidence": "variance", "scores": "probabilities"},
    ],
)
def test_what_has_an_effect_is_taken(block: dict[str, Any]) -> None:
    strategy = load_scenario("smoke", strategy=block).strategy
    assert {name: getattr(strategy, name) for name in block} == block


@pytest.mark.parametrize(
    ("block", "drawn"),
    [
        ({"name": "fedheal"}, {"strategy.tau", "strategy.beta"}),
        ({"name": "fedheal", "fair": False}, {"strategy.tau"}),
        ({"name": "fedheal", "consistent": False}, {"strategy.beta"}),
    ],
)
def test_tuning_draws_only_what_has_an_effect(block: dict[str, Any], drawn: set[str]) -> None:
    chosen = load_scenario("smoke", strategy=block)
    assert set(Space(shared={}, own={}).of(chosen)) == drawn
