"""Names that have become others: the old ones work for one more minor version, with a warning."""

from __future__ import annotations

import importlib
import re
import warnings
from pathlib import Path

import pytest
import torch
from torch import nn

import fedlab
from fedlab.clients import ClientTrainer
from fedlab.errors import InputError
from fedlab.federation.client_updates import ClientUpdate
from fedlab.losses import ClientStats
from fedlab.scenario_file import load_scenario, to_yaml
from fedlab.strategies import Strategy
from fedlab.strategies.fedavgm import FedAvgM


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("fedlab", "LocalHalf", ClientTrainer),
        ("fedlab.clients", "LocalHalf", ClientTrainer),
        ("fedlab.clients.base", "LocalHalf", ClientTrainer),
        ("fedlab.losses", "Profile", ClientStats),
        ("fedlab.losses.base", "Profile", ClientStats),
    ],
)
def test_a_class_is_found_by_its_old_name(module: str, old: str, new: type) -> None:
    shown = importlib.import_module(module)
    with pytest.warns(DeprecationWarning, match=f"{module}.{old} is now {new.__name__}"):
        assert getattr(shown, old) is new


def updates(*values: float) -> list[ClientUpdate]:
    """A client's whole model each: a weight and a bias of that value."""
    return [
        ClientUpdate(
            client,
            {"arrays": {"weight": torch.full((1, 1), value), "bias": torch.full((1,), value)}},
            {"num-examples": 1},
        )
        for client, value in enumerate(values)
    ]


def started(strategy: Strategy) -> Strategy:
    strategy.initialise({"weight": torch.zeros(1, 1), "bias": torch.zeros(1)})
    return strategy


def test_a_strategy_that_overrides_old_names_overrides_the_new_ones() -> None:
    with pytest.warns(DeprecationWarning, match="is now") as caught:

        class Halved(FedAvgM):
            linear = False

            def combine(self, server_round, updates):
                super().combine(server_round, updates)
                self.state["arrays"] = {n: t / 2 for n, t in self.state["arrays"].items()}

    assert {str(each.message).split(";")[0] for each in caught} == {
        f"{Halved.__qualname__}.combine is now aggregate",
        f"{Halved.__qualname__}.linear is now needs_only_mean",
    }
    assert all(each.filename == __file__ for each in caught)
    assert Halved.needs_only_mean is False
    plain, halved = (
        started(kind(nn.Linear(1, 1), kind.Parameters(name="fedavgm")))
        for kind in (FedAvgM, Halved)
    )
    plain.aggregate(1, updates(1.0, 3.0))
    with pytest.warns(DeprecationWarning, match="FedAvgM.combine is now aggregate"):
        halved.aggregate(1, updates(1.0, 3.0))
    assert halved.state["arrays"]["bias"] == plain.state["arrays"]["bias"] / 2 != 0


def test_an_old_name_reads_what_a_subclass_says_by_the_new_one() -> None:
    class Doubled(Strategy):
        def weighted_mean(self, updates, record):
            return {n: 2 * t for n, t in super().weighted_mean(updates, record).items()}

    doubled = started(Doubled(nn.Linear(1, 1)))
    with pytest.warns(DeprecationWarning, match="Doubled.mean is now weighted_mean"):
        assert doubled.mean(updates(1.0, 3.0), "arrays")["bias"] == 4


def test_parameters_and_client_trainers_have_old_names_too() -> None:
    with pytest.warns(DeprecationWarning, match="stays is now local_parameter_names"):

        class Mine(fedlab.strategies.StrategyParameters):
            name: str = "mine"

            def stays(self, model, policy):
                return ("bias",)

    shared, local = Mine().divide(nn.Linear(1, 1), ClientTrainer.norm_policy)
    assert (shared, local) == (("weight",), ("bias",))
    with pytest.warns(DeprecationWarning, match="vectorisable is now supports_vmap"):

        class One(ClientTrainer):
            vectorisable = False

    assert One.supports_vmap is False


def test_new_names_warn_of_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")

        class Mine(FedAvgM):
            def aggregate(self, server_round, updates):
                super().aggregate(server_round, updates)

        started(Mine(nn.Linear(1, 1))).aggregate(1, updates(1.0))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("engine.cohort=3", "engine.stack_size=3"),
        ("engine.linear=dense", "engine.dense_layers=dense"),
        ("engine.execution=one_by_one", "engine.execution=sequential"),
        ("engine.execution=vectorised", "engine.execution=vmap"),
        ("engine.execution=vectorized", "engine.execution=vmap"),
        ("participation.deadline=5", "participation.timeout=5"),
        ("strategy=centralized", "strategy=centralised"),
        ("strategy.name=centralized", "strategy.name=centralised"),
    ],
)
def test_a_scenario_may_say_it_as_it_was_said_before(old: str, new: str) -> None:
    assert load_scenario("smoke", [old]) == load_scenario("smoke", [new])


def test_an_old_key_beside_its_new_name_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    text = f"{to_yaml(load_scenario('smoke'))}"
    file.write_text(re.sub(r"engine:\n(  .*\n)+", "engine: {cohort: 2, stack_size: 3}\n", text))
    with pytest.raises(InputError, match="engine: has both cohort and stack_size, which is its na"):
        load_scenario(file)


def test_a_comparison_takes_its_old_keyword(tmp_path: Path) -> None:
    with (
        pytest.warns(DeprecationWarning, match="at_once=.* is now max_parallel"),
        pytest.raises(InputError, match="max_parallel: 0 is no number of runs"),
    ):
        fedlab.compare("smoke", seeds=1, at_once=0, out=tmp_path / "runs", progress=False)
