"""FedIIR: gradients by autograd, the mean gradient by hand, and a round's two exchanges."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import Message
from torch import nn
from torch.nn.functional import cross_entropy

from fedlab.clients.base import ClientState, Received
from fedlab.engine.execution.runtime import Runtime
from fedlab.errors import InputError
from fedlab.federation.client_updates import ClientUpdate
from fedlab.federation.round_strategy import Ask
from fedlab.preparation import prepare
from fedlab.records import Tensors
from fedlab.simulation import simulate
from fedlab.strategies.base import ServerSettings
from fedlab.strategies.fedavg import FedAvg
from fedlab.strategies.fediir import FedIIR, FedIIRParameters
from helpers import toy
from helpers.cohorts import MODELS, assert_same, ragged, runtime_of
from helpers.echo import Echo, Net, run
from helpers.fleets import fleet_of

NETWORK = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 1, bias=False))


def answered(client: int, gradient: list[float], count: int) -> ClientUpdate:
    arrays = {
        "gradient": {"2.weight": torch.tensor([gradient])},
        "samples": {"count": torch.tensor(count)},
    }
    return ClientUpdate(client, arrays, {"num-examples": 0})


def test_the_mean_gradient_by_hand() -> None:
    strategy = FedIIR(NETWORK, FedIIRParameters())
    strategy.initialise({n: t.detach() for n, t in NETWORK.state_dict().items()})

    def ask(question: str, arrays: dict[str, Tensors], **values: Any) -> list[ClientUpdate]:
        assert question == "gradient"
        assert arrays["arrays"].keys() == NETWORK.state_dict().keys()
        return [answered(0, [4.0, 0.0], 30), answered(1, [0.0, 8.0], 10), answered(2, [9, 9], 0)]

    strategy.before_training(1, ask)
    mean = torch.tensor([[3.0, 2.0]])
    torch.testing.assert_close(strategy.broadcast(1)["gradient"]["2.weight"], 0.05 * mean)
    strategy.before_training(2, ask)
    second = (0.95 * 0.05 + 0.05) * mean
    torch.testing.assert_close(strategy.broadcast(2)["gradient"]["2.weight"], second)
    strategy.parameters = FedIIRParameters(corrected=True)
    torch.testing.assert_close(strategy.broadcast(2)["gradient"]["2.weight"], mean)


def received(runtime: Runtime) -> Received:
    """A model, and a mean gradient that differs between classes (those of a client sum to 0)."""
    state = {n: t.clone() for n, t in runtime.trainer.task.model.state_dict().items()}
    head = {
        n: torch.linspace(-1, 2, state[n].numel()).view_as(state[n]).to(state[n])
        for n in runtime.trainer.task.head.names
    }
    return Received({"arrays": state, "gradient": head}, {"server-round": 1, "rounds": 5})


@pytest.mark.usefixtures("double")
def test_both_exchanges_are_those_written_out() -> None:
    training = {"batch_size": "full", "local_epochs": 2, "optimizer": {"lr": 0.1}}
    runtime = runtime_of(
        strategy={"name": "fediir", "penalty": 0.7}, model=MODELS["cnn-batch"], training=training
    )
    model = copy.deepcopy(runtime.trainer.task.model)
    head = list(model.children())[-1]
    data = runtime.client_data(0)
    images, labels = runtime.preprocess.inputs(data.inputs), data.labels
    answer = runtime.answer(0, "gradient", received(runtime))
    expected = torch.autograd.grad(
        cross_entropy(model.eval()(images), labels), list(head.parameters())
    )
    torch.testing.assert_close(list(answer.arrays["gradient"].values()), list(expected))
    assert answer.arrays["samples"]["count"] == len(labels)

    update, metrics = runtime.train(0, received(runtime), {})
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    losses = []
    for _ in range(2):
        optimizer.zero_grad()
        loss = cross_entropy(model(images), labels)
        gradients = torch.autograd.grad(loss, list(head.parameters()), create_graph=True)
        target = received(runtime).arrays["gradient"].values()
        pairs = zip(gradients, target, strict=True)
        loss = loss + 0.7 * sum((own - mean).square().sum() for own, mean in pairs)
        losses.append(loss.item())
        loss.backward()
        optimizer.step()
    assert metrics["loss"] == pytest.approx(sum(losses) / 2)
    torch.testing.assert_close(update.arrays["arrays"], dict(model.state_dict()))


@pytest.mark.parametrize("model", ["mlp", "cnn-batch"])
@pytest.mark.usefixtures("double")
def test_together_is_one_by_one(model: str) -> None:
    training = {"batch_size": 8, "optimizer": {"lr": 0.01}}
    runtime = ragged(strategy="fediir", model=MODELS[model], training=training)
    assert runtime.trainer.supports_vmap
    clients = list(range(len(runtime.partition)))
    states: list[ClientState] = [{} for _ in clients]
    given = received(runtime)
    alone = [runtime.train(k, given, {}) for k in clients]
    assert_same(alone, runtime.train_many(clients, given, states), 1e-9)
    empty = [k for k in clients if not runtime.client_data(k).known]
    assert empty
    assert runtime.answer(empty[0], "gradient", given).arrays["samples"]["count"] == 0


def test_both_exchanges_are_counted_among_a_rounds_clients(tmp_path: Path) -> None:
    chosen = toy.scenario(
        strategy="fediir",
        model={"name": "mlp", "hidden": [6]},
        partition={"clients": 4},
        participation={"fraction": 0.5},
    )
    run = simulate(chosen, out=tmp_path / "run", progress=False)
    history = run.history.query("split == 'round'").set_index(["round", "metric"]).value
    head = 4 * (6 * 4 + 4)
    model = 4 * (192 * 6 + 6) + head
    for server_round in (1, 2):
        assert history[server_round, "bytes_up"] == 2 * (model + head + 8)
        # The model to be asked, the model and the gradient to train, the model to be tested.
        assert history[server_round, "bytes_down"] == 2 * (2 * model + head) + 4 * model


class Asking(FedAvg):
    """Asks a round's clients before they train, and does nothing with their answers."""

    def before_training(self, server_round: int, ask: Ask) -> None:
        ask("how are you", {"arrays": self.state["arrays"]})


class Noting(Echo):
    """Notes whom each exchange reaches."""

    def __init__(self, clients: int) -> None:
        super().__init__([1.0] * clients, [1] * clients)
        self.reached: list[list[int]] = []

    def send_and_receive(self, messages: Iterable[Message], *, timeout=None) -> list[Message]:
        asked = list(messages)
        self.reached.append([message.metadata.dst_node_id for message in asked])
        return super().send_and_receive(asked)


def test_those_who_are_asked_train_though_others_are_available_by_then() -> None:
    fleet = fleet_of([1.0] * 8, availability=0.5, period=1.0)
    fleet = replace(fleet, down=np.full(8, 1.0))  # the question takes many periods
    grid = Noting(8)
    settings = ServerSettings(fraction_evaluate=0, fleet=fleet)
    run(Asking(Net(), settings=settings), grid, rounds=4)
    asked, trained = grid.reached[::2], grid.reached[1::2]
    assert asked == trained
    assert len({tuple(cohort) for cohort in asked}) > 1


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"training": {"loss": "label_smoothing"}}, "training.loss: fediir"),
        (
            {"model": "helpers.odd_networks:ConvolutionalHead"},
            "fediir compares gradients of a last",
        ),
    ],
)
def test_other_losses_and_networks_are_refused(changes: dict, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        prepare(toy.scenario(strategy="fediir", **changes))
