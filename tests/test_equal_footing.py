"""What differs between methods besides the rule is counted, shown, and can be made equal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import fedlab
from fedlab.comparison.plan import plan
from fedlab.engine.rehearsal.pass_count import RoundPasses
from fedlab.errors import InputError
from fedlab.preparation import prepare
from helpers import toy

THREE = {"clients": 3}
"""40 training samples each, which are 3 steps."""


def passes(strategy: Any, **changes: Any) -> RoundPasses:
    found = prepare(toy.scenario(strategy=strategy, **{"partition": THREE} | changes)).passes
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("strategy", "forward", "backward"),
    [
        ("fedavg", 40, 40),
        ("flwr:FedAvg", 40, 40),
        ("fedprox", 40, 40),
        ("scaffold", 40, 40),
        ("fedsam", 80, 80),  # where it is, and uphill
        ("fedntd", 80, 40),  # the received model is asked, too
        ("moon", 120, 40),  # the received model and the last own one
        ("ditto", 80, 80),  # two models
        ("fedproto", 80, 40),  # a pass without learning
        ("fraug", 80, 40),  # features as in tests
        ({"name": "fedrep", "head_epochs": 2}, 120, 120),  # two passes for the head, one for all
        ("centralised", 120, 120),
        ({"name": "sla", "base": "fedprox"}, 160, 160),  # four views
        ({"name": "fedheal", "base": "fedprox"}, 40, 40),
    ],
    ids=str,
)
def test_samples_that_go_through_the_network_in_a_round(
    strategy: Any, forward: float, backward: float
) -> None:
    found = passes(strategy)
    assert (found.forward, found.backward) == (forward, backward)
    assert found.unlabelled == 0


@pytest.mark.parametrize("strategy", ["qfedavg", "afl", "ifca", "fedproto", "fedplvm"])
def test_a_pass_that_measures_is_forward_alone_and_no_step(strategy: str) -> None:
    found = passes(strategy)
    assert found.forward > found.backward == 40
    assert (found.labelled, found.unlabelled) == (pytest.approx(40 / 3), 0)


def test_views_and_unlabelled_samples_are_counted_each() -> None:
    budget = {"clients": 3, "label_budget": {"share": 0.25}}
    training = {"batch_size": 5, "optimizer": {"lr": 0.05}}
    fedavg = passes("fedavg", partition=budget, training=training)
    assert fedavg == RoundPasses(forward=10, backward=10, labelled=5, unlabelled=0)
    # 10 labelled in 2 steps; beside each of them 2 x 5 of the 30 others, in two views.
    fixmatch = passes({"name": "fixmatch", "ratio": 2}, partition=budget, training=training)
    assert fixmatch == RoundPasses(
        forward=10 + 2 * 20, backward=10 + 2 * 20, labelled=5, unlabelled=10
    )


def test_held_out_clients_are_not_in_the_mean() -> None:
    uneven = {"clients": 4, "quantity": {"name": "lognormal", "sigma": 1.0}}
    chosen = toy.scenario(partition=uneven | {"held_out_clients": [0]})
    prepared = prepare(chosen)
    sizes = [len(prepared.partition[client].train) for client in (1, 2, 3)]
    assert prepared.passes is not None
    assert prepared.passes.forward == pytest.approx(sum(sizes) / 3)


def test_counting_leaves_the_run_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = toy.scenario(strategy="moon")
    fedlab.simulate(chosen, out=tmp_path / "a", progress=False)
    monkeypatch.setattr("fedlab.preparation.count_passes", lambda *_: None)
    fedlab.simulate(chosen, out=tmp_path / "b", progress=False)
    for name in ("history.csv", "model.safetensors"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert fedlab.load_run(tmp_path / "a").workload["forward"] == 120
    assert "forward" not in fedlab.load_run(tmp_path / "b").workload


@pytest.mark.slow
def test_a_comparison_shows_what_its_methods_ask_of_a_client(tmp_path: Path) -> None:
    comparison = fedlab.compare(
        toy.scenario(partition=THREE), ["fedavg", "moon"], seeds=1, out=tmp_path, progress=False
    )
    table = comparison.table()
    assert table["samples forward", "mean"].tolist() == [40, 120]
    assert "samples backward" not in table  # as many for both
    text = comparison.to_markdown()
    assert "| samples forward |" in text
    assert "a sample that goes through twice counts twice" in text


# ---------------------------------------------------------------------- one weighting for all


@pytest.mark.parametrize("weighting", ["examples", "uniform"])
def test_one_weighting_is_for_all_methods(weighting: str) -> None:
    methods = ["fedavg", "fedbn", "scaffold", "feddyn", "ggeur base=scaffold"]
    methods += ["local_only weighting=examples"]
    planned = plan(toy.scenario(), methods, [0], [f"strategy.weighting={weighting}"], {}, {})
    counts = [one.scenario.strategy.clients_count for one in planned]
    assert counts == [weighting] * 5 + ["alone"]


@pytest.mark.parametrize("method", ["flwr:FedAvg"])
def test_a_method_with_a_weighting_of_its_own_is_refused_by_name(method: str) -> None:
    with pytest.raises(
        InputError,
        match=f"{method} minimises another loss.* count by examples for any value of this key",
    ):
        plan(toy.scenario(), ["fedavg", method], [0], ["strategy.weighting=uniform"], {}, {})
    plan(toy.scenario(), ["fedavg", method], [0], ["strategy.weighting=examples"], {}, {})


@pytest.mark.parametrize("method", ["local_only", "centralised", "afl", "feddg_ga"])
def test_a_weighting_that_would_change_nothing_is_refused(method: str) -> None:
    """The remedy that the words name is one."""
    other = "examples" if method == "afl" else "uniform"
    own = f"{method} weighting={'uniform' if method == 'afl' else 'examples'}"
    with pytest.raises(InputError, match=f"'{other}' would have no effect.*\"{own}\""):
        plan(toy.scenario(), ["fedavg", method], [0], [f"strategy.weighting={other}"], {}, {})
    planned = plan(toy.scenario(), ["fedavg", own], [0], [f"strategy.weighting={other}"], {}, {})
    assert [one.entry.strategy for one in planned] == [
        "fedavg" + " weighting=uniform" * (other == "uniform"),
        method,
    ]


def test_what_a_method_says_itself_stands() -> None:
    methods = ["fedavg", "fedbn weighting=examples"]
    planned = plan(toy.scenario(), methods, [0], ["strategy.weighting=uniform"], {}, {})
    assert [one.scenario.strategy.weighting for one in planned] == ["uniform", "examples"]


def test_weightings_can_be_what_is_compared() -> None:
    variants = {"strategy.weighting": ["examples", "uniform"]}
    planned = plan(toy.scenario(), ["fedavg", "ggeur"], [0], [], variants, {})
    counts = [one.scenario.strategy.clients_count for one in planned]
    assert counts == ["examples", "uniform"] * 2
