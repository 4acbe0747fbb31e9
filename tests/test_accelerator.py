"""Any accelerator: numbers, devices and costs, shown on a pretend one (see its module)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks import launches
from fedlab.clients.base import Received
from fedlab.device_copies import to_device, to_host
from fedlab.engine.execution.runtime import Runtime
from fedlab.errors import InputError
from fedlab.hardware import ResourcesSpec
from fedlab.preparation import Prepared, prepare
from fedlab.records import arrays_of, to_record
from fedlab.server_app import build_strategy
from fedlab.simulation import simulate
from helpers import pretend_accelerator, targets, toy
from helpers.cohorts import MODELS

if pretend_accelerator.SUPPORTED:
    pretend_accelerator.install()  # modules are imported before the first test of any of them

pytestmark = pytest.mark.skipif(
    not pretend_accelerator.SUPPORTED, reason=pretend_accelerator.MISSING
)

METHODS = (
    *("fedavg", "fedprox", "fedbn", "fedper", "fedrep", "scaffold", "feddyn", "feddc", "fednova"),
    *("ditto", "moon", "fedntd", "fedsam", "fedwon", "fixmatch", "uda", "fedlabel", "fixbn"),
    *("fedproto", "silobn", "lg_fedavg", "fraug", "fedetf", "fedbabu", "fedrod", "fedala"),
    *("qfedavg", "afl", "ifca", "fpl", "fedheal", "fedplvm", "f2dc", "fedsr", "fediir", "fedlesam"),
    *("fdse", "sla"),
)
FULL = "FEDLAB_ACCELERATOR" in os.environ
"""Whether slow tests try every method with all networks and losses, which takes an hour."""
FEW_LABELS = ("fixmatch", "uda", "fedlabel")
LOSSES = ("label_smoothing", "balanced_softmax", "logit_adjustment", "ldam", "ldr_kl", "aldr_kl")
WAYS = {
    "sequential": {"execution": "sequential", "dense_layers": "dense"},
    "stack": {"execution": "vmap", "dense_layers": "dense"},
    "low_rank": {"execution": "auto", "dense_layers": "low_rank"},
}


@pytest.fixture
def accelerator() -> Iterator[torch.device]:
    with pretend_accelerator.present() as device:
        yield device


def model_after(device: str, prepared: Prepared) -> dict[str, torch.Tensor]:
    """The updates of all clients after a round in which they train by the engine's choice."""
    scenario = prepared.scenario
    strategy = build_strategy(scenario, prepared.model, prepared.fleet)
    strategy.rounds = scenario.rounds
    strategy.initialise({name: t.clone() for name, t in prepared.model.state_dict().items()})
    down = {name: to_record(each) for name, each in strategy.broadcast(1).items()}
    runtime = Runtime(scenario, prepared.data, prepared.partition, torch.device(device))
    received = Received(
        {name: arrays_of({"r": record}, device)["r"] for name, record in down.items()},  # type: ignore[arg-type]
        strategy.config(1),
    )
    clients = list(range(len(prepared.partition)))
    if scenario.engine.execution == "sequential":
        sent = [runtime.train(client, received, {}) for client in clients]
    else:
        sent = runtime.train_many(clients, received, [{} for _ in clients])
    return {
        f"{client}/{record}/{name}": tensor.cpu()
        for client, (update, _) in enumerate(sent)
        for record, tensors in (update.arrays | update.client_state).items()
        for name, tensor in tensors.items()
    }


def assert_same_on_both(prepared: Prepared) -> None:
    here, there = model_after("cpu", prepared), model_after(pretend_accelerator.NAME, prepared)
    assert here.keys() == there.keys()
    for name, values in here.items():
        torch.testing.assert_close(there[name], values, rtol=1e-5, atol=1e-5, msg=name)


def case(method: str, model: str, loss: str, way: str) -> dict[str, Any]:
    partition: dict[str, Any] = {"clients": 3}
    if method in FEW_LABELS:
        partition["label_budget"] = {"share": 0.3}
    return {
        "strategy": method,
        "model": MODELS[model],
        "partition": partition,
        "training": {"batch_size": 16, "optimizer": {"lr": 0.05}, "loss": loss},
        "engine": WAYS[way],
    }


CHOSEN = [
    ("fedavg", "linear", "cross_entropy", "low_rank"),
    ("fedavg", "mlp", "cross_entropy", "stack"),
    ("fedavg", "cnn-batch", "ldam", "sequential"),
    ("fedprox", "cnn-batch", "cross_entropy", "stack"),
    ("feddc", "cnn-group", "balanced_softmax", "stack"),
    ("feddyn", "mlp", "cross_entropy", "stack"),
    ("scaffold", "mlp", "label_smoothing", "stack"),
    ("ditto", "mlp", "cross_entropy", "stack"),
    ("fedsam", "mlp", "ldr_kl", "stack"),
    ("fixmatch", "cnn-batch", "cross_entropy", "stack"),
    pytest.param(("fedlabel", "cnn-none", "cross_entropy", "sequential"), marks=pytest.mark.slow),
    pytest.param(("fraug", "cnn-batch", "aldr_kl", "sequential"), marks=pytest.mark.slow),
    pytest.param(("fraug", "cnn-batch", "cross_entropy", "stack"), marks=pytest.mark.slow),
    pytest.param(("moon", "cnn-batch", "cross_entropy", "stack"), marks=pytest.mark.slow),
]


@pytest.mark.parametrize("chosen", CHOSEN, ids=lambda chosen: "-".join(chosen))
def test_a_round_has_the_numbers_of_the_cpu(accelerator: torch.device, chosen: Any) -> None:
    assert_same_on_both(prepare(toy.scenario(**case(*chosen))))


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "model", ["mlp", "cnn-batch", "cnn-group", "resnet20"] if FULL else ["cnn-batch"]
)
def test_every_method_has_the_numbers_of_the_cpu(
    accelerator: torch.device, method: str, model: str
) -> None:
    for loss, way in product(("cross_entropy", *LOSSES) if FULL else ("cross_entropy",), WAYS):
        try:
            prepared = prepare(toy.scenario(**case(method, model, loss, way)))
        except InputError:
            continue  # the method, network and loss do not go together
        assert_same_on_both(prepared)


@pytest.mark.parametrize("updates", [
    {
        "transforms": [{"name": "clip", "norm": 0.1}],
        "compression": {"name": "top_k", "share": 0.2},
        "rule": "median",
    },
    pytest.param({"compression": "int8"}, marks=pytest.mark.slow),
])  # fmt: skip
def test_a_run_with_changed_updates_has_the_numbers_of_the_cpu(
    accelerator: torch.device, updates: dict[str, Any], tmp_path
) -> None:
    """Training, evaluation and the way of updates, in one process."""
    runs = [
        simulate(
            toy.scenario(
                strategy={"name": "fedavg", "weighting": "uniform"},
                updates=updates,
                resources={"backend": "local", "device": device},
            ),
            out=tmp_path / device,
        )
        for device in ("cpu", "auto")
    ]
    here, there = (run.model_state() for run in runs)
    # A value between two levels of int8 may be rounded to either, by the last bit of it.
    within = 1e-4 if updates.get("compression") == "int8" else 1e-5
    for name in here:
        torch.testing.assert_close(there[name], here[name], rtol=1e-5, atol=within)


def test_numbers_are_learnt_and_tested_where_there_is_no_double_precision(
    accelerator: torch.device, tmp_path
) -> None:
    histories = []
    with pretend_accelerator.without_float64():
        for device in ("cpu", "auto"):
            run = simulate(
                targets.scenario(
                    "regression",
                    evaluation={"metrics": ["mae", "rmse", "r2", "loss"], "validation": 0.2},
                    resources={"backend": "local", "device": device},
                ),
                out=tmp_path / device,
            )
            histories.append(run.history[run.history.split != "round"])
    here, there = histories
    assert (here.metric == there.metric).all()
    np.testing.assert_allclose(there.value, here.value, rtol=1e-4, atol=1e-5)


# ---------------------------------------------------------------------- the device itself


def test_devices_are_not_mixed(accelerator: torch.device) -> None:
    there = torch.ones(3, device=accelerator)
    for mixed in (
        lambda: there + torch.ones(3),
        lambda: torch.stack([there[0], torch.tensor(1.0)]),
    ):
        with pytest.raises(RuntimeError, match="same device"):
            mixed()


def test_tensors_travel_in_one_copy(accelerator: torch.device) -> None:
    last = torch.rand(3, 4, 5, 5).contiguous(memory_format=torch.channels_last)
    given = [last, torch.tensor(3), torch.rand(7) > 0.5, torch.rand(3, 3).double()]
    with pretend_accelerator.counting() as cost:
        back = to_host(to_device(given, accelerator))
    assert (cost["to_device"], cost["to_host"], cost["waits"]) == (1, 1, 1)
    for one, other in zip(given, back, strict=True):
        assert torch.equal(one, other)
        assert (one.dtype, one.stride()) == (other.dtype, other.stride())


def test_auto_is_the_accelerator_that_is_there(accelerator: torch.device) -> None:
    assert ResourcesSpec(backend="local").device_here().type == "pretend"
    assert ResourcesSpec(backend="local", device="cpu").device_here().type == "cpu"
    assert ResourcesSpec(backend="local", gpus_per_actor=0).device_here().type == "cpu"
    with pytest.raises(InputError, match=r"pretend:1.*finds cpu, pretend on this machine"):
        ResourcesSpec(backend="local", device="pretend:1").device_here()


@pytest.mark.parametrize(("resources", "said"), [
    ({"device": "tpu9"}, "no name of a device"),
    ({"device": "cpu", "gpus_per_actor": 1}, "leave one of the two out"),
    ({"device": "cuda", "gpus_per_actor": 0}, "leave one of the two out"),
])  # fmt: skip
def test_resources_that_contradict_themselves_are_refused(
    resources: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        ResourcesSpec(**resources)


# ---------------------------------------------------------------------- what it costs

MOST_LAUNCHES = {
    **{"fedavg": 50, "fedprox": 64.2, "scaffold": 64.2, "fednova": 64.2, "ditto": 64.2},
    **{"feddyn": 64.2, "feddc": 64.2, "fedntd": 96.2, "fedsam": 128.2, "moon": 128.2},
    **{"fixmatch": 197.2, "uda": 197.2, "fedlabel": 197.2, "fraug": 197.2},
}
"""Launches of a local step of one client on the network of `smoke` that are not to be exceeded."""


MOST_BY_GRAPHS = [("scaffold", 8), ("fedsam", 8), ("moon", 8), ("fedwon", 8), ("fraug", 10)]
"""The same with graphs, where a step of any method is one."""

QUICK = ("fedavg", "fedprox")


@pytest.mark.parametrize(
    "method",
    [m if m in QUICK else pytest.param(m, marks=pytest.mark.slow) for m in MOST_LAUNCHES],
)
def test_launches_waits_and_copies_stay_within_their_budget(method: str) -> None:
    found = launches.count(method)
    assert found.launches <= MOST_LAUNCHES[method]
    phases = 2 if method in ("ditto", "fedlabel") else 1
    assert (found.waits, found.copies) == (1, phases)  # FRAug's class means are masked


@pytest.mark.parametrize(
    ("method", "most"),
    [("fedavg", 8), *(pytest.param(*each, marks=pytest.mark.slow) for each in MOST_BY_GRAPHS)],
)
def test_launches_by_graphs_stay_within_their_budget(method: str, most: float) -> None:
    found = launches.count(method, overrides=["engine.execution=graph"])
    assert found.launches <= most
    assert found.waits == 1


def test_numbers_cost_no_copy_in_each_step(accelerator: torch.device) -> None:
    copies = []
    for epochs in (1, 4):
        wanted = targets.scenario("regression", training={"local_epochs": epochs})
        prepared = prepare(wanted)
        runtime = Runtime(wanted, prepared.data, prepared.partition, accelerator)
        state = {n: t.to(accelerator) for n, t in prepared.model.state_dict().items()}
        received = Received({"arrays": state}, {"server-round": 1})
        runtime.train(0, received, {})
        with pretend_accelerator.counting() as cost:
            runtime.train(0, received, {})
        copies.append(cost["to_device"])
    assert copies[0] == copies[1]


def test_a_stack_waits_once_for_what_its_method_measures() -> None:
    assert launches.count("fedlabel", clients=2).waits == 1


@pytest.mark.slow
def test_a_stack_of_many_costs_little_for_each() -> None:
    found = launches.count("fedavg", clients=32)
    assert found.launches <= 6
    assert found.waits == 1
