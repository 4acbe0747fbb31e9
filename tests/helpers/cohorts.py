"""Clients of the toy problem, one by one and many as one: the same numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import nn

from fedlab.clients.base import ClientState, Received
from fedlab.engine.execution.runtime import Runtime
from fedlab.models.spec import ModelSpec
from fedlab.partition.partition import Partition
from fedlab.preparation import prepare
from helpers import toy

CONFIG = {"proximal-mu": 0.5, "threshold": 0.3}
"""What the server halves of the methods tested here send beside tensors."""


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


def runtime_of(train: int = 40, **changes: Any) -> Runtime:
    data = {"sources": [{"name": "helpers.toy:Stripes", "train": train}], "image_size": 8}
    fields: dict[str, Any] = {"data": data, "partition": {"clients": 4}, "model": MODELS["mlp"]}
    fields |= changes
    if isinstance(extra := fields.pop("augmentation", None), dict):
        fields["data"] = fields["data"] | {"augmentation": extra}
    prepared = prepare(toy.scenario(**fields))
    return Runtime(prepared.scenario, prepared.data, prepared.partition, torch.device("cpu"))


def both(runtime: Runtime, rounds: int = 2) -> tuple[list, list]:
    """The last of some rounds of every client, one by one and together, from the same states."""
    clients = range(len(runtime.partition))
    initial = {n: t.clone() for n, t in runtime.trainer.task.model.state_dict().items()}
    states: list[list[ClientState]] = [[{} for _ in clients], [{} for _ in clients]]
    for server_round in range(1, rounds + 1):
        down = {n: initial[n] for n in runtime.trainer.shared}
        received = Received({"arrays": down}, CONFIG | {"server-round": server_round})
        alone = [runtime.train(k, received, states[0][k]) for k in clients]
        together = runtime.train_many(list(clients), received, states[1])
        states = [[update.client_state for update, _ in results] for results in (alone, together)]
    return alone, together


def assert_same(alone: Sequence, together: Sequence, tolerance: float = 1e-5) -> None:
    for (update, metrics), (update_, metrics_) in zip(alone, together, strict=True):
        assert metrics == pytest.approx(metrics_, abs=1e-5)  # sums are kept in single precision
        assert metrics["num-examples"] == metrics_["num-examples"]
        for records, records_ in zip(update, update_, strict=True):
            torch.testing.assert_close(records, records_, rtol=tolerance, atol=tolerance)


SIZES = [17, 40, 1, 23, 9, 23, 7]


def ragged(**changes: Any) -> Runtime:
    """Clients of very different sizes: one has a single sample, and one none with a label."""
    prepared = prepare(toy.scenario(**{"model": MODELS["mlp"]} | changes))
    labels = prepared.data.train.labels
    labelled = np.ones(len(labels), dtype=bool)
    labelled[::5] = False
    labelled[[57, *range(81, 90)]] = [True] + 9 * [False]
    partition = Partition(
        train=np.arange(len(labels)),
        labels=labels,
        labelled=labelled,
        train_offsets=np.cumsum([0, *SIZES]),
        test=np.arange(0),
        test_offsets=np.zeros(len(SIZES) + 1, dtype=int),
    )
    return Runtime(prepared.scenario, prepared.data, partition, torch.device("cpu"))


class NoBias(ModelSpec):
    """Dense layers without bias, nested, with an activation at either end."""

    name: Literal["helpers.cohorts:NoBias"] = "helpers.cohorts:NoBias"

    def network(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """Three dense layers."""
        size = input_shape[0] * input_shape[1] * input_shape[2]
        narrow = nn.Sequential(nn.Linear(size, 12, bias=False), nn.Tanh())
        wide = nn.Sequential(nn.Linear(12, 9), nn.GELU(), nn.Linear(9, classes, bias=False))
        return nn.Sequential(nn.ReLU(), nn.Flatten(), narrow, wide, nn.Softplus())


NETWORKS = MODELS | {"no-bias": {"name": "helpers.cohorts:NoBias"}}


def rounds(runtime: Runtime, together: bool, count: int = 2) -> list:
    """The last of some rounds of every client."""
    clients = list(range(len(runtime.partition)))
    states: list[ClientState] = [{} for _ in clients]
    results = []
    for server_round in range(1, count + 1):
        initial = runtime.trainer.task.model.state_dict()
        down = {name: initial[name].clone() for name in runtime.trainer.shared}
        received = Received({"arrays": down}, {"server-round": server_round, "proximal-mu": 0.5})
        if together:
            results = runtime.train_many(clients, received, states)
        else:
            results = [runtime.train(k, received, states[k]) for k in clients]
        states = [update.client_state for update, _ in results]
    return results


def received(runtime: Runtime, server_round: int = 1, **config) -> Received:
    state = {n: t.clone() for n, t in runtime.trainer.task.model.state_dict().items()}
    return Received({"arrays": state}, {"server-round": server_round, **config})
