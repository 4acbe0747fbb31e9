"""Dense layers in low-rank form, and clients side by side: the numbers of plain one by one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import linear, relu

from fedlab.clients.base import ClientState, ClientTrainer, Received, Update
from fedlab.clients.fedavg import FedAvg
from fedlab.engine.execution.batched_mlp import chain_of
from fedlab.engine.execution.low_rank_layers import WideLayers
from fedlab.engine.execution.runtime import Runtime
from fedlab.engine.execution.sequential import Sequential
from fedlab.federation.preaggregation import Preaggregation
from fedlab.federation.weighted_sum import WeightedSum
from fedlab.models.dense_chain import Chain
from fedlab.models.norms import remove_normalisation
from fedlab.training.optimizer import Optimizer
from fedlab.training.spec import OptimizerSpec
from helpers.cohorts import (
    METHODS,
    NETWORKS,
    assert_same,
    ragged,
    rounds,
    runtime_of,
)
from helpers.pairs import pairs_first

TRAINING = {
    "plain": {"optimizer": {"lr": 0.05}},
    "decay": {"optimizer": {"lr": 0.05, "weight_decay": 0.1}},
    "momentum": {"optimizer": {"lr": 0.01, "momentum": 0.9}, "local_epochs": 2},
    "everything": {
        "optimizer": {"lr": 0.01, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
        "local_steps": 9,
    },
    "full": {"batch_size": "full", "local_epochs": 3, "optimizer": {"lr": 0.05}},
    "epochs": {"local_epochs": 3, "optimizer": {"lr": 0.05, "lr_decay": 0.5}},
}


def compare(
    build: Callable[..., Runtime], form: str, together: bool, tolerance: float, **changes: Any
) -> Runtime:
    plain = build(**changes, engine={"linear": "dense"})
    other = build(**changes, engine={"dense_layers": form})
    assert_same(rounds(plain, together=False), rounds(other, together=together), tolerance)
    return other


def wide(runtime: Runtime) -> WideLayers | None:
    """The layers that may take low-rank form where clients train one by one."""
    sequential = runtime.executors[-1]
    assert isinstance(sequential, Sequential)
    return sequential.wide


@pytest.mark.slow_except(
    "mlp",
    "side dense-linear",
    "alone low_rank-linear-equal-everything",
    "alone low_rank-no-bias-equal-plain",
    "alone low_rank-no-bias-equal-decay",
)
@pytest.mark.parametrize(
    ("way", "network", "clients", "training"),
    pairs_first(
        ["side low_rank", "side dense", "alone low_rank"],
        ["linear", "mlp", "no-bias"],
        ["equal", "ragged"],
        list(TRAINING),
    ),
)
@pytest.mark.usefixtures("double")
def test_dense_networks(way: str, network: str, clients: str, training: str) -> None:
    side, form = way.split()
    runtime = compare(
        ragged if clients == "ragged" else runtime_of,
        form,
        side == "side",
        1e-9,
        model=NETWORKS[network],
        training={"batch_size": 10} | TRAINING[training],
    )
    assert chain_of(runtime.trainer, runtime.preprocess)


@pytest.mark.parametrize("name", ["adam", "adamw"])
@pytest.mark.usefixtures("double")
def test_other_optimisers_side_by_side(name: str) -> None:
    training = {"batch_size": 10, "optimizer": {"name": name, "lr": 0.01, "weight_decay": 0.1}}
    runtime = compare(ragged, "low_rank", True, 1e-9, model=NETWORKS["no-bias"], training=training)
    assert chain_of(runtime.trainer, runtime.preprocess)


@pytest.mark.slow_except("fedavg-cnn-none", "fedbn-cnn-batch")
@pytest.mark.parametrize(
    ("method", "network"),
    [
        ("fedavg", "cnn-none"),
        ("fedavg", "cnn-batch"),
        ("fedbn", "cnn-batch"),
        ("silobn", "cnn-batch"),
    ],
)
@pytest.mark.usefixtures("double")
def test_dense_layers_of_other_networks(method: str, network: str) -> None:
    optimizer = {"lr": 0.01, "momentum": 0.9, "weight_decay": 0.01}
    runtime = compare(
        ragged,
        "low_rank",
        False,
        1e-9,
        strategy=METHODS[method],
        model=NETWORKS[network],
        training={"batch_size": 8, "optimizer": optimizer},
    )
    layers = wide(runtime)
    assert layers is not None
    assert len(layers.slots) == 1


@pytest.mark.slow_except("mlp", "linear")
@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("network", ["linear", "mlp", "cnn-batch"])
def test_single_precision(network: str, together: bool) -> None:
    training = {"batch_size": 8, "optimizer": {"lr": 0.05}}
    compare(ragged, "low_rank", together, 1e-5, model=NETWORKS[network], training=training)


@pytest.mark.slow_except("fedprox")
@pytest.mark.parametrize("method", ["fedprox", "fedwon"])
def test_methods_that_look_at_weights_keep_them(method: str) -> None:
    model = NETWORKS["cnn-batch"]
    runtime = compare(runtime_of, "low_rank", False, 1e-7, strategy=METHODS[method], model=model)
    assert wide(runtime) is None
    dense = runtime_of(strategy={"name": "fedprox", "mu": 0.5}, engine={"linear": "low_rank"})
    assert chain_of(dense.trainer, dense.preprocess) is None


def test_clipping_and_other_optimisers_need_gradients() -> None:
    for optimizer in ({"clip_norm": 1.0}, {"name": "adam"}):
        runtime = runtime_of(training={"optimizer": optimizer}, engine={"linear": "low_rank"})
        assert wide(runtime) is None


class SendsMore(FedAvg):
    """Might send anything that the optimiser keeps."""

    def finish(self, carry: Any, received: Received, steps: int) -> Update:
        """As usual."""
        return super().finish(carry, received, steps)


def test_a_method_that_could_send_momentum_has_all_of_it() -> None:
    trainer = runtime_of().trainer

    def can(kind: type[ClientTrainer], momentum: float) -> bool:
        spec = OptimizerSpec(lr=0.1, momentum=momentum)
        task = trainer.task.__class__(trainer.task.model, Optimizer(spec), classes=4)
        samples = torch.zeros(2, 3, 8, 8)
        return WideLayers.of(kind(trainer.parameters, task), "low_rank", samples) is not None

    assert [can(FedAvg, 0), can(FedAvg, 0.9), can(SendsMore, 0), can(SendsMore, 0.9)] == [
        True,
        True,
        True,
        False,
    ]


class Odd(nn.Module):
    """A network that uses its dense layers in all sorts of ways."""

    def __init__(self) -> None:
        super().__init__()
        self.plain = nn.Linear(6, 6)
        self.twice = nn.Linear(6, 6)
        self.one, self.other = nn.Linear(6, 6), nn.Linear(6, 6)
        self.other.weight = self.one.weight
        self.parts = nn.Linear(3, 3)
        self.by_hand = nn.Linear(6, 4)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """(n, 6) -> (n, 4)."""
        inputs = relu(self.twice(self.twice(self.plain(inputs))))
        inputs = self.other(self.one(inputs))
        inputs = self.parts(inputs.view(-1, 2, 3)).flatten(1)
        return linear(inputs, self.by_hand.weight)


def test_only_layers_that_are_plainly_used_change_their_form() -> None:
    trainer = runtime_of().trainer
    task = trainer.task.__class__(Odd(), trainer.task.optimizer, classes=4)
    wide = WideLayers.of(FedAvg(trainer.parameters, task), "low_rank", torch.zeros(2, 6))
    assert wide
    assert list(wide.slots) == ["plain"]
    assert Chain.of(task.model) is None


def test_networks_that_are_no_chains() -> None:
    layer = nn.Linear(4, 4)
    drop = nn.Sequential(layer, nn.Dropout(0.5))
    hooked = nn.Sequential(nn.Linear(4, 4))
    hooked[0].register_forward_hook(lambda *_: None)
    for network in (nn.Sequential(layer, layer), drop, hooked, nn.Sequential(nn.ReLU())):
        assert Chain.of(network) is None
    assert Chain.of(layer) == Chain([("weight", "bias")], [], [], [])
    plain = remove_normalisation(nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2), nn.ReLU()))
    assert Chain.of(plain) is not None


@pytest.mark.slow_except("linear", "no-bias-low_rank-decay")
@pytest.mark.parametrize("training", TRAINING.values(), ids=TRAINING.keys())
@pytest.mark.parametrize("form", ["low_rank", "dense"])
@pytest.mark.parametrize("network", ["linear", "no-bias"])
@pytest.mark.usefixtures("double")
def test_a_sum_over_a_stack_is_the_sum_of_its_updates(
    network: str, form: str, training: dict
) -> None:
    changes: dict[str, Any] = {
        "model": NETWORKS[network],
        "training": {"batch_size": 10} | training,
        "engine": {"dense_layers": form},
    }
    runtime = ragged(**changes)
    clients = list(range(len(runtime.partition)))
    states: list[ClientState] = [{} for _ in clients]
    received = Received({"arrays": runtime.trainer.task.model.state_dict()}, {"server-round": 1})

    results = runtime.train_many(clients, received, states)
    expected, into = WeightedSum(), Preaggregation("examples")
    expected.add([update.arrays for update, _ in results], [m["num-examples"] for _, m in results])
    alone = runtime.train_many(clients, received, states, into)
    total = into.total
    assert [metrics for _, metrics in alone] == [metrics for _, metrics in results]
    assert not any(update.arrays for update, _ in alone)
    assert (total.weight, total.clients, total.dtypes) == (
        pytest.approx(expected.weight),
        expected.clients,
        expected.dtypes,
    )
    torch.testing.assert_close(total.arrays, expected.arrays, rtol=1e-12, atol=1e-12)
