"""Strategies, held against values computed by hand."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

import flwr.serverapp.strategy
import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Message
from pydantic import ValidationError
from torch import nn

from fedlab.config import registry
from fedlab.errors import InputError, RunError
from fedlab.federation.client_updates import ClientUpdate, mean_metrics
from fedlab.preparation import prepare
from fedlab.records import to_record
from fedlab.server_app import build_strategy
from fedlab.simulation import simulate
from fedlab.strategies.base import ServerSettings
from fedlab.strategies.families.flower_parameters import FlowerParameters, available
from fedlab.strategies.fedavg import FedAvg
from fedlab.strategies.fedbn import FedBN
from fedlab.strategies.flower import Flower
from helpers import toy
from helpers.echo import Echo, Net, run


def test_fedavg_weighs_by_examples() -> None:
    final = run(FedAvg(Net()), Echo([1.0, 4.0], [3, 1]), rounds=2)
    assert final["dense.weight"].item() == pytest.approx(2 * 1.75)
    assert final["norm.num_batches_tracked"].item() == 8
    assert final["norm.num_batches_tracked"].dtype is torch.int64


@pytest.mark.parametrize("name", ["fedavg", "fedadam", "flwr:FedAvg", "flwr:FedAdam"])
def test_a_round_without_samples_changes_nothing(name: str) -> None:
    strategy = flower(name) if ":" in name else registry.resolve("strategies", name)(Net())
    end = run(strategy, Echo([3.0, 5.0], [0, 0]), rounds=2)
    assert not any(tensor.any() for tensor in end.values())


class Normed(nn.Sequential):
    """Cannot train on a single sample."""

    def __init__(self, input_shape: tuple[int, ...], classes: int) -> None:
        first = nn.Linear(math.prod(input_shape), 4)
        super().__init__(nn.Flatten(), first, nn.BatchNorm1d(4), nn.Linear(4, classes))


@pytest.mark.slow_except("fedprox", "fedbn")
@pytest.mark.parametrize("strategy", ["fedprox", "fednova", "scaffold", "fedbn", "flwr:FedAvgM"])
def test_a_run_goes_on_after_such_a_round(strategy: str, tmp_path: Path) -> None:
    """Four of five clients have one sample, and one of five takes part."""
    few = {"sources": [{"name": "helpers.toy:Stripes", "train": 2, "test": 20}], "image_size": 8}
    idle = 0
    for seed in range(4):
        chosen = toy.scenario(
            data=few,
            model={"name": "test_strategies:Normed"},
            strategy=strategy,
            partition={"clients": 5},
            participation={"fraction": 0.2},
            rounds=1,
            seed=seed,
        )
        ended = simulate(chosen, out=tmp_path / f"run-{seed}", progress=False)
        assert ended.finished
        if ended.history.query("metric == 'steps'").value.sum() == 0:
            idle += 1
            initial = prepare(chosen).model.state_dict()
            assert all(torch.equal(initial[n], tensor) for n, tensor in ended.model_state().items())
    assert idle


def test_uniform_weighting_is_an_option() -> None:
    parameters = FedAvg.Parameters(weighting="uniform")
    final = run(FedAvg(Net(), parameters), Echo([1.0, 4.0], [3, 1]), rounds=1)
    assert final["dense.weight"].item() == pytest.approx(2.5)


def test_fedbn_counts_clients_the_same_and_sends_no_norm() -> None:
    final = run(FedBN(Net()), Echo([1.0, 4.0], [3, 1]), rounds=1)
    assert final.keys() == {"dense.weight", "dense.bias"}
    assert final["dense.weight"].item() == pytest.approx(2.5)


def test_cohorts_are_drawn_from_the_seed_and_the_round() -> None:
    grid = Echo([0.0] * 50, [1] * 50)
    settings = ServerSettings(seed=3, fraction_train=0.2)
    strategy = FedAvg(Net(), settings=settings)
    first = strategy.cohort(1, grid, "cohort", 0.2)  # type: ignore[arg-type]
    assert len(set(first)) == 10
    assert first == sorted(first)
    assert first == FedAvg(Net(), settings=settings).cohort(1, grid, "cohort", 0.2)  # type: ignore[arg-type]
    assert first != strategy.cohort(2, grid, "cohort", 0.2)  # type: ignore[arg-type]


def test_messages_of_a_round_share_one_content() -> None:
    strategy = FedAvg(Net())
    grid = Echo([0.0] * 5, [1] * 5)
    arrays = to_record(Net().state_dict())
    messages = list(strategy.configure_train(1, arrays, ConfigRecord(), grid))  # type: ignore[arg-type]
    assert len({id(message.content) for message in messages}) == 1
    assert messages[0].content["config"]["server-round"] == 1


class Silent(Echo):
    """A grid on which the last client never answers."""

    def send_and_receive(self, messages: Iterable[Message], *, timeout=None) -> list[Message]:
        return super().send_and_receive(list(messages)[:-1])


def test_a_missing_reply_counts_as_failed() -> None:
    with pytest.raises(RunError, match=r"1 of 3 clients failed.*did not answer in time"):
        run(FedAvg(Net()), Silent([1.0] * 3, [1] * 3), rounds=1)
    tolerant = FedAvg(Net(), settings=ServerSettings(max_failed_share=0.5))
    final = run(tolerant, Silent([1.0] * 3, [1] * 3), rounds=1)
    assert final["dense.weight"].item() == pytest.approx(1.0)


# ---------------------------------------------------------------------- Flower's strategies


def flower(name: str, **arguments) -> Flower:
    parameters = FlowerParameters.model_validate({"name": name, **arguments})
    return Flower(Net(), parameters)


def test_flower_fedavg_is_ours() -> None:
    theirs = run(flower("flwr:FedAvg"), Echo([1.0, 4.0], [3, 1]), rounds=2)
    ours = run(FedAvg(Net()), Echo([1.0, 4.0], [3, 1]), rounds=2)
    for name in ours:
        torch.testing.assert_close(theirs[name], ours[name])


def test_fedadam_follows_its_formula_and_leaves_statistics_alone() -> None:
    adam = flower("flwr:FedAdam", eta=0.1, beta_1=0.9, beta_2=0.99, tau=1e-3)
    final = run(adam, Echo([1.0, 4.0], [3, 1]), rounds=3)
    w = m = v = 0.0
    for server_round in range(1, 4):
        delta = 1.75
        m = 0.9 * m + 0.1 * delta
        v = 0.99 * v + 0.01 * delta**2
        # Flower corrects the bias of the moments, which Reddi et al. (2021) do not.
        eta = 0.1 * np.sqrt(1 - 0.99 ** (server_round + 1)) / (1 - 0.9 ** (server_round + 1))
        w += eta * m / (np.sqrt(v) + 1e-3)
    assert final["dense.weight"].item() == pytest.approx(w, rel=1e-5)
    assert final["norm.running_var"].item() == pytest.approx(3 * 1.75)
    assert final["norm.num_batches_tracked"].dtype is torch.int64


@pytest.mark.parametrize("name", sorted(set(available()) - {"flwr:FedProx", "flwr:QFedAvg"}))
def test_every_flower_strategy_runs(name: str) -> None:
    arguments = {
        "flwr:Krum": {"num_malicious_nodes": 1},
        "flwr:MultiKrum": {"num_malicious_nodes": 1, "num_nodes_to_select": 3},
        "flwr:Bulyan": {"num_malicious_nodes": 1},
    }
    moves = [1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 100.0]
    final = run(flower(name, **arguments.get(name, {})), Echo(moves, [1] * 7), rounds=2)
    assert np.isfinite(final["dense.weight"].item())
    if name in ("flwr:Krum", "flwr:FedMedian", "flwr:Bulyan", "flwr:FedTrimmedAvg"):
        assert final["dense.weight"].item() < 5  # the outlier has no say


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("flwr:FedProx", {"proximal_mu": 0.1}), ("flwr:QFedAvg", {"client_learning_rate": 0.05})],
)
@pytest.mark.slow
def test_flower_strategies_that_need_the_clients_help(name, arguments, tmp_path) -> None:
    chosen = toy.scenario(strategy={"name": name, **arguments})
    assert simulate(chosen, out=tmp_path / "run").finished


class Damped(flwr.serverapp.strategy.FedAvg):
    """Written for Flower: goes a part of the way from where the clients have started."""

    def __init__(self, pace: float = 1.0, **settings) -> None:
        super().__init__(**settings)
        self.pace = pace

    def aggregate_train(self, server_round, replies):
        arrays, metrics = super().aggregate_train(server_round, replies)
        scaled = {name: self.pace * array.numpy() for name, array in arrays.items()}
        return ArrayRecord({name: Array(values) for name, values in scaled.items()}), metrics


def test_a_users_flower_strategy_runs_unchanged(tmp_path) -> None:
    name = f"flwr:{__name__}:Damped"
    final = run(flower(name, pace=0.5), Echo([1.0, 4.0], [3, 1]), rounds=2)
    # 0.5 * (0 + 1.75), then half of that and of 1.75 more.
    assert final["dense.weight"].item() == pytest.approx(0.5 * (0.5 * 1.75 + 1.75))
    done = simulate(toy.scenario(strategy={"name": name, "pace": 0.9}), out=tmp_path / "run")
    assert done.finished


@pytest.mark.parametrize(
    ("block", "words"),
    [
        ({"name": f"flwr:{__name__}:Damped", "pase": 1}, "takes no 'pase'; it takes pace"),
        ({"name": f"flwr:{__name__}:Net"}, "is no subclass of flwr.serverapp.strategy.FedAvg"),
        ({"name": f"{__name__}:Damped"}, f"name it 'flwr:{__name__}:Damped'"),
        ({"name": "flwr:FedAdma"}, "no strategy 'flwr:FedAdma'"),
        ({"name": "flwr:FedAdam", "etta": 1}, "takes no 'etta'; it takes eta"),
        ({"name": "flwr:QFedAvg"}, "needs client_learning_rate"),
        ({"name": "flwr:FedAvg", "fraction_train": 0.5}, "takes no 'fraction_train'"),
    ],
)
def test_what_flower_cannot_take_is_refused(block: dict, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        toy.scenario(strategy=block)


# ---------------------------------------------------------------------- refusals


@pytest.mark.parametrize("method", ["fedbn", "silobn"])
def test_methods_about_normalisation_refuse_networks_without(method: str) -> None:
    with pytest.raises(InputError, match="has none"):
        prepare(toy.scenario(strategy=method, model={"name": "mlp"}))


def test_groups_have_scales_that_fedbn_keeps_and_no_statistics_that_silobn_could() -> None:
    model = {"name": "small_cnn", "widths": [4, 4, 4], "norm": "group"}
    prepare(toy.scenario(strategy="fedbn", model=model))
    with pytest.raises(
        InputError, match=r"silobn keeps running statistics .* use model.norm=batch"
    ):
        prepare(toy.scenario(strategy="silobn", model=model))


def test_fedwon_takes_normalisation_out_for_both_halves() -> None:
    prepared = prepare(toy.scenario(strategy="fedwon"))
    assert not any(isinstance(m, nn.BatchNorm2d) for m in prepared.model.modules())
    strategy = build_strategy(prepared.scenario, prepared.model)
    assert any("gain" in name for name in strategy.shared)


def test_fedwon_learns_from_batches_of_one(tmp_path: Path) -> None:
    one = {"batch_size": 1, "local_steps": 3}
    run = simulate(toy.scenario(strategy="fedwon", training=one), out=tmp_path / "run")
    losses = run.history.query("split == 'train' and metric == 'loss'").value
    assert len(losses) == 6
    assert losses.notna().all()


def test_a_client_without_a_metric_does_not_count_in_its_mean() -> None:
    trained = ClientUpdate(0, {}, {"num-examples": 4, "steps": 3, "loss": 0.5})
    idle = ClientUpdate(1, {}, {"num-examples": 6, "steps": 0})
    means = mean_metrics([idle, trained])
    assert dict(means) == {"loss": 0.5, "steps": 1.2, "num-examples": 10}
