"""IFCA: several models, and clients that choose."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from fedlab.clients.base import Received
from fedlab.clients.ifca import least
from fedlab.engine.execution.runtime import Runtime
from fedlab.errors import InputError
from fedlab.federation.client_updates import ClientUpdate
from fedlab.preparation import prepare
from fedlab.server_app import build_strategy
from fedlab.simulation import simulate
from fedlab.strategies.ifca import IFCA, IFCAParameters
from helpers import toy
from helpers.cohorts import assert_same, ragged, runtime_of
from helpers.running import on, result

DEEP = {"name": "mlp", "hidden": [8]}
CNN = {"name": "small_cnn", "widths": [4, 8, 8]}
THREE = {"name": "ifca", "clusters": 3}


def received(runtime: Runtime, server_round: int = 1) -> Received:
    strategy = build_strategy(runtime.scenario, runtime.trainer.task.model)
    strategy.initialise(dict(runtime.trainer.task.model.state_dict()))
    like = next(runtime.trainer.task.model.parameters())
    records = {
        record: {name: t.to(like) if t.is_floating_point() else t for name, t in tensors.items()}
        for record, tensors in strategy.broadcast(1).items()
    }
    return Received(records, {"server-round": server_round, "rounds": 2})


def losses(runtime: Runtime, down: Received, client: int) -> list[float]:
    data = runtime.client_data(client)
    known = data.labelled
    images = runtime.preprocess.inputs(data.inputs)[known]
    model = copy.deepcopy(runtime.trainer.task.model).eval()
    found = []
    for record in down.arrays.values():
        model.load_state_dict(record)
        with torch.no_grad():
            found.append(cross_entropy(model(images), data.labels[known]).item())
    return found


# ---------------------------------------------------------------------- by hand


@pytest.mark.parametrize(
    ("values", "choice"), [((0.9, 0.2), 1), ((0.1, 0.8), 0), ((0.3, 0.3), 0), ((2, 1, 1), 1)]
)
def test_the_least_loss_is_chosen_and_of_equals_the_first(values: Any, choice: int) -> None:
    assert least(torch.tensor(values)).item() == choice


@pytest.mark.parametrize(("weighting", "first"), [("uniform", 4.0), ("examples", 4.5)])
def test_models_are_means_of_those_who_chose_them(weighting: Any, first: float) -> None:
    model = nn.Linear(1, 1, bias=False)
    strategy = IFCA(model, IFCAParameters(clusters=3, weighting=weighting))
    strategy.initialise(dict(model.state_dict()))
    untrained = strategy.state["model-2"]["weight"].clone()
    updates = [
        ClientUpdate(
            client,
            {
                "arrays": {"weight": torch.tensor([[value]])},
                "cluster": {"choice": torch.tensor(choice)},
            },
            {"num-examples": examples},
        )
        for client, (choice, value, examples) in enumerate(
            [(1, 9.0, 1), (0, 3.0, 10), (0, 5.0, 30), (2, 7.0, 0)]  # the last has no samples
        )
    ]
    strategy.aggregate(1, updates)
    assert strategy.state["arrays"]["weight"].item() == first
    assert strategy.state["model-1"]["weight"].item() == 9.0
    assert torch.equal(strategy.state["model-2"]["weight"], untrained)
    assert strategy.round_metrics(1) == {
        "clients_of_model_0": 2,
        "clients_of_model_1": 1,
        "clients_of_model_2": 0,
    }
    assert strategy.round_metrics(2) == {}  # a round without replies


def test_models_start_differently_and_from_the_seed() -> None:
    def weights(seed: int) -> list[list[float]]:
        prepared = prepare(toy.scenario(strategy=THREE, model=DEEP, seed=seed))
        strategy = build_strategy(prepared.scenario, prepared.model)
        strategy.initialise(dict(prepared.model.state_dict()))
        down = strategy.broadcast(1)
        assert list(down) == ["arrays", "model-1", "model-2"]
        assert torch.equal(down["arrays"]["1.weight"], prepared.model.state_dict()["1.weight"])
        return [record["1.weight"].flatten().tolist() for record in down.values()]

    first = weights(0)
    assert len({tuple(each) for each in first}) == 3
    assert weights(0) == first
    assert weights(1)[1] != first[1]


# ---------------------------------------------------------------------- the client trainer


@pytest.mark.slow_except("cnn")
@pytest.mark.parametrize("model", [DEEP, CNN], ids=["mlp", "cnn"])
@pytest.mark.usefixtures("double")
def test_a_client_trains_the_model_that_fits_it(model: dict[str, Any]) -> None:
    training = {"batch_size": "full", "local_epochs": 2, "optimizer": {"lr": 0.2, "momentum": 0.5}}
    runtime = runtime_of(strategy=THREE, model=model, training=training)
    down = received(runtime)
    for client in range(len(runtime.partition)):
        each = losses(runtime, down, client)
        best = each.index(min(each))
        update, metrics = runtime.train(client, down, {})
        assert update.arrays["cluster"]["choice"] == best == metrics["cluster"]
        plain = runtime_of(strategy="fedavg", model=model, training=training)
        chosen = list(down.arrays.values())[best]
        alone, _ = plain.train(client, Received({"arrays": chosen}, down.config), {})
        torch.testing.assert_close(update.arrays["arrays"], alone.arrays["arrays"])


@pytest.mark.parametrize("name", ["sgd", "adam"])
@pytest.mark.usefixtures("double")
def test_together_is_one_by_one(name: str) -> None:
    training = {"batch_size": 8, "optimizer": {"name": name, "lr": 0.02}}
    runtime = ragged(strategy=THREE, model=CNN, training=training)
    assert runtime.trainer.supports_vmap
    clients, down = list(range(len(runtime.partition))), received(runtime)
    alone = [runtime.train(client, down, {}) for client in clients]
    assert len({int(update.arrays["cluster"]["choice"]) for update, _ in alone}) > 1
    assert_same(alone, runtime.train_many(clients, down, [{} for _ in clients]), 1e-9)


def test_a_client_tests_the_model_that_fits_its_training_samples() -> None:
    runtime = runtime_of(strategy=THREE, model=DEEP)
    down = received(runtime)
    scores = runtime.evaluate_many(list(range(4)), down, [{}] * 4)
    for client in range(4):
        each = losses(runtime, down, client)
        chosen = list(down.arrays.values())[each.index(min(each))]
        plain = runtime_of(strategy="fedavg", model=DEEP)
        theirs = plain.evaluate(client, Received({"arrays": chosen}), {})
        assert [s.loss for s in scores[client]] == pytest.approx([s.loss for s in theirs])


# ---------------------------------------------------------------------- whole runs


def test_clients_of_opposite_looks_part_and_all_bytes_are_counted(tmp_path: Path) -> None:
    """Stripes of the fifth domain are darker than their ground, those of the first lighter."""
    sources = [{"name": "helpers.toy:Stripes", "train": 120, "domains": 5}]
    block = {"name": "ifca", "clusters": 2}
    chosen = toy.scenario(
        strategy=block,
        model={"name": "mlp", "hidden": [16]},
        data={"sources": sources, "image_size": 8, "domains": ["d0", "d4"]},
        partition={"clients": 6, "held_out_clients": [5]},
        training={"batch_size": 16, "optimizer": {"lr": 0.1}, "local_epochs": 2},
        rounds=4,
        seed=1,
    )
    run = simulate(chosen, out=tmp_path / "run", progress=False)
    prepared = prepare(chosen)
    looks = [int(prepared.data.train.domains[prepared.partition[k].train][0]) for k in range(5)]
    rows = run.history.query("metric == 'cluster' and round == 4").set_index("client").value
    found = {(look, rows[client]) for client, look in enumerate(looks)}
    assert len(found) == len({cluster for _, cluster in found}) == 2
    counted = run.history.query("split == 'round' and round == 4").set_index("metric").value
    assert counted["clients_of_model_0"] + counted["clients_of_model_1"] == 5
    model = sum(t.nbytes for t in prepared.model.state_dict().values())
    assert counted["bytes_up"] == 5 * (model + 8)
    assert counted["bytes_down"] == 2 * 5 * 2 * model  # to train and to test
    with pytest.raises(InputError, match="no client has a model by itself"):
        run.model_state(0)
    new = run.history.query("split == 'held_out' and client == 5 and metric == 'accuracy'")
    assert new[new["round"] == 4].value.item() > 0.5  # it chooses as the others do


@pytest.mark.slow  # test_control_variates has a method on Ray whose clients keep tensors
def test_on_ray_a_run_ends_in_the_same_bytes(tmp_path: Path, ray_here: None) -> None:
    for backend in ("local", "ray"):
        chosen = toy.scenario(strategy=THREE, model=DEEP, resources=on(backend))
        simulate(chosen, out=tmp_path / backend, progress=False)
    assert result(tmp_path / "local") == result(tmp_path / "ray")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"participation": {"update_norm": 1.0}}, "clients of ifca start from different models"),
        ({"updates": {"compression": "int8"}}, "ifca looks at replies by itself"),
    ],
)
def test_what_makes_no_sense_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        prepare(toy.scenario(strategy="ifca", **changes))
    with pytest.raises(ValueError, match="clusters"):
        toy.scenario(strategy={"name": "ifca", "clusters": 1})
