"""Clients trained together: the same numbers as one by one, for every method and network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import nn

import toy
from fedlab.clients.base import ClientState, Received
from fedlab.data.preprocess import Preprocess
from fedlab.engine import runtime as runtime_module
from fedlab.engine.runtime import Runtime
from fedlab.simulation import prepare

METHODS = {
    "fedavg": {"name": "fedavg"},
    "fedprox": {"name": "fedprox", "mu": 0.5},
    "fedbn": {"name": "fedbn"},
    "silobn": {"name": "silobn"},
    "fedwon": {"name": "fedwon", "clipping": 0.02},
}
MODELS = {
    "linear": {"name": "linear"},
    "mlp": {"name": "mlp", "hidden": [16]},
    "cnn-batch": {"name": "small_cnn", "widths": [4, 8, 8]},
    "cnn-group": {"name": "small_cnn", "widths": [4, 8, 8], "norm": "group"},
    "cnn-none": {"name": "small_cnn", "widths": [4, 8, 8], "norm": "none"},
    "resnet20": {"name": "resnet20"},
}
NORMALISED = ("cnn-batch", "cnn-group", "resnet20")
PAIRS = [
    (method, model)
    for method in METHODS
    for model in MODELS
    if method in ("fedavg", "fedprox") or model in NORMALISED
    if (method, model) != ("silobn", "cnn-group")
]


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch) -> None:
    """Double precision, in which rounding cannot hide a difference or make one."""
    inputs = Preprocess.inputs
    monkeypatch.setattr(Preprocess, "inputs", lambda self, batch: inputs(self, batch).double())
    build = runtime_module.build_model
    monkeypatch.setattr(runtime_module, "build_model", lambda *given: build(*given).double())


def runtime_of(train: int = 40, **changes: Any) -> Runtime:
    data = {"sources": [{"name": "toy:Stripes", "train": train}], "image_size": 8}
    fields: dict[str, Any] = {"data": data, "partition": {"clients": 4}, "model": MODELS["mlp"]}
    fields |= changes
    if isinstance(extra := fields.pop("augmentation", None), dict):
        fields["data"] = fields["data"] | {"augmentation": extra}
    prepared = prepare(toy.scenario(**fields))
    return Runtime(prepared.scenario, prepared.data, prepared.partition, torch.device("cpu"))


def both(runtime: Runtime, rounds: int = 2) -> tuple[list, list]:
    """The last of some rounds of every client, one by one and together, from the same states."""
    clients = range(len(runtime.partition))
    initial = {n: t.clone() for n, t in runtime.half.task.model.state_dict().items()}
    config = {"proximal-mu": 0.5}
    states: list[list[ClientState]] = [[{} for _ in clients], [{} for _ in clients]]
    for server_round in range(1, rounds + 1):
        down = {n: initial[n] for n in runtime.half.shared}
        received = Received({"arrays": down}, config | {"server-round": server_round})
        alone = [runtime.train(k, received, states[0][k]) for k in clients]
        together = runtime.train_many(list(clients), received, states[1])
        states = [[update.own_state for update, _ in results] for results in (alone, together)]
    return alone, together


def assert_same(alone: Sequence, together: Sequence, tolerance: float = 1e-5) -> None:
    for (update, metrics), (update_, metrics_) in zip(alone, together, strict=True):
        assert metrics == pytest.approx(metrics_, abs=1e-5)  # sums are kept in single precision
        assert metrics["num-examples"] == metrics_["num-examples"]
        for records, records_ in zip(update, update_, strict=True):
            torch.testing.assert_close(records, records_, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("method", "model"), PAIRS, ids=["-".join(pair) for pair in PAIRS])
@pytest.mark.usefixtures("double")
def test_together_is_one_by_one(method: str, model: str) -> None:
    training = {"batch_size": 8, "optimizer": {"lr": 0.01}}
    runtime = runtime_of(train=24, strategy=METHODS[method], model=MODELS[model], training=training)
    assert runtime.half.vectorisable
    alone, together = both(runtime)
    assert_same(alone, together, 1e-9)
    weights = [next(iter(update.arrays["arrays"].values())) for update, _ in together]
    assert not any(torch.equal(weights[0], other) for other in weights[1:])
