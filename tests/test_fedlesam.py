"""FedLESAM: the perturbation by hand, and two rounds in plain PyTorch."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.nn.functional import cross_entropy

from fedlab.clients.base import Received
from fedlab.clients.fedlesam import uphill
from helpers.cohorts import MODELS, assert_same, both, ragged, runtime_of


def test_the_perturbation_by_hand() -> None:
    old, now = torch.tensor([1.0, 1.0]), torch.tensor([0.4, 0.2])
    back = {"a": (old - now)[:1], "b": (old - now)[1:]}  # one norm over all tensors
    shift = uphill(back, 0.1)
    assert [shift["a"].item(), shift["b"].item()] == pytest.approx([0.06, 0.08])
    assert uphill({"a": torch.zeros(2)}, 0.1)["a"].tolist() == [0.0, 0.0]


@pytest.mark.usefixtures("double")
def test_two_rounds_are_those_of_plain_pytorch() -> None:
    optimizer = {"lr": 0.1, "momentum": 0.5, "weight_decay": 0.1}
    runtime = runtime_of(
        strategy={"name": "fedlesam", "rho": 0.3},
        model=MODELS["cnn-batch"],
        training={"batch_size": "full", "local_epochs": 3, "optimizer": optimizer},
    )
    model = copy.deepcopy(runtime.trainer.task.model).train()
    first = {n: t.clone() for n, t in model.state_dict().items()}
    second = {n: t + 0.02 if t.is_floating_point() else t for n, t in first.items()}
    data = runtime.client_data(0)
    images = runtime.preprocess.inputs(data.inputs)
    names = [name for name, _ in model.named_parameters()]
    away = torch.cat([(first[n] - second[n]).flatten() for n in names]).norm()
    state = {}
    for server_round, down in ((1, first), (2, second)):
        received = Received({"arrays": down}, {"server-round": server_round, "rounds": 3})
        update, metrics = runtime.train(0, received, state)
        state = update.client_state
        shift = {n: 0.3 * (first[n] - down[n]) / away for n in names}
        model.load_state_dict(down)
        steps = torch.optim.SGD(model.parameters(), **optimizer)
        loss = torch.zeros(())
        losses = []
        for _ in range(3):
            steps.zero_grad()
            with torch.no_grad():
                for name, parameter in model.named_parameters():
                    parameter += shift[name]
            loss = cross_entropy(model(images), data.labels)
            loss.backward()
            losses.append(loss.item())
            with torch.no_grad():
                for name, parameter in model.named_parameters():
                    parameter -= shift[name]
            steps.step()
        assert metrics["loss"] == pytest.approx(sum(losses) / 3)
        torch.testing.assert_close(update.arrays["arrays"], dict(model.state_dict()))
        torch.testing.assert_close(state["last"], {n: down[n] for n in names})


@pytest.mark.parametrize("model", ["mlp", "cnn-batch"])
@pytest.mark.usefixtures("double")
def test_together_is_one_by_one(model: str) -> None:
    training = {"batch_size": 8, "optimizer": {"lr": 0.01}}
    runtime = ragged(strategy="fedlesam", model=MODELS[model], training=training)
    assert runtime.trainer.supports_vmap
    assert_same(*both(runtime), 1e-9)
