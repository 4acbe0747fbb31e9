"""Whether two scenarios are the same experiment."""

from __future__ import annotations

from typing import Any

import pytest

from fedlab.config.scenario_diff import (
    IN_MID_RUN,
    METHOD_AND_SEED,
    NO_RESULT,
    KeyDifference,
    differences,
    differing_keys,
    flatten,
)
from fedlab.scenario import Scenario
from fedlab.scenario_file import load_scenario


def test_a_scenario_is_flat_in_its_own_order() -> None:
    values = {"b": {"y": 1, "x": {"deep": [1, {"z": 2}]}}, "a": {}, "none": None}
    assert flatten(values) == {"b.y": 1, "b.x.deep": [1, {"z": 2}], "a": {}, "none": None}
    assert [*flatten(values)] == ["b.y", "b.x.deep", "a", "none"]


def test_blocks_and_values_are_ignored_by_whole_names() -> None:
    values = {"model": {"name": "mlp", "norm": None}, "model_of_mine": 1, "seed": 0}
    assert flatten(values, ignore=["model"]) == {"model_of_mine": 1, "seed": 0}
    assert flatten(values, ignore=["model.norm", "seed"]) == {
        "model.name": "mlp",
        "model_of_mine": 1,
    }


def test_differences_name_the_key_and_both_values() -> None:
    before, after = {"a": {"x": 1, "gone": 2}, "b": 0}, {"a": {"x": 3}, "b": 0, "new": True}
    found = differences(before, after)
    assert found == [("a.x", 1, 3), ("a.gone", 2, None), ("new", None, True)]
    assert str(KeyDifference("a.x", 1, None)) == "a.x=1 and not null"
    assert differences(before, after, ignore=["a", "new"]) == []


def test_an_absent_key_counts_as_null() -> None:
    assert differences({"a": None}, {}) == []
    assert differing_keys({"a": 1}, {"a": 1, "b": None}, {"a": 1}) == []
    assert differing_keys({"a": 1}, {"a": 1}, {"a": 2, "c": 0}) == ["a", "c"]


@pytest.mark.parametrize(
    ("change", "shows"),
    [
        ({"seed": 1}, {"run", "mid"}),
        ({"strategy": "fedprox"}, {"run", "mid"}),
        ({"engine.stack_size": 2}, {"mid"}),
        ({"rounds": 9}, {"run", "comparison"}),
        ({"name": "else", "description": "else", "output.checkpoint_every": 7}, set()),
        ({"training.batch_size": 3}, {"run", "mid", "comparison"}),
        ({"data.normalisation": {"mean": 0.1}}, {"run", "mid", "comparison"}),
    ],
)
def test_who_may_ignore_what(change: dict[str, Any], shows: set[str]) -> None:
    before, after = load_scenario("smoke"), load_scenario("smoke", change)
    assert isinstance(after, Scenario)
    ignored = {"run": NO_RESULT, "mid": IN_MID_RUN, "comparison": (*NO_RESULT, *METHOD_AND_SEED)}
    assert {who for who, blocks in ignored.items() if differences(before, after, blocks)} == shows
    assert differences(before, after)
