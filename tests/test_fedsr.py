"""FedSR: divergence and draws by hand, a step in plain PyTorch, and what stays."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.distributions import Normal, kl_divergence
from torch.nn.functional import cross_entropy, softplus

from fedlab import rng
from fedlab.clients.base import Received
from fedlab.engine.execution.batch_schedule import plan_round
from fedlab.engine.execution.runtime import Runtime
from fedlab.errors import InputError
from fedlab.models.gaussian_head import GaussianHead, Gaussians, divergence, find_gaussian_head
from fedlab.preparation import prepare
from fedlab.simulation import simulate
from helpers import toy
from helpers.cohorts import runtime_of

METHOD = {"name": "fedsr", "width": 5}
DEEP = {"name": "mlp", "hidden": [6]}


def test_the_divergence_by_hand() -> None:
    one = torch.ones(1, 1)
    assert softplus(torch.ones(())) == pytest.approx(1.313262, abs=1e-6)
    given = Gaussians(one, one, one)
    assert divergence(given, 0 * one, one, torch.ones(())).item() == pytest.approx(
        0.352339, abs=1e-6
    )
    given = Gaussians(torch.tensor([[1.0, -2.0]]), torch.tensor([[0.5, 2.0]]), torch.zeros(1, 2))
    r, rho = torch.tensor([[0.3, 0.1]]), torch.tensor([[0.2, -1.0]])
    exact = kl_divergence(
        Normal(3 * given.mean, 3 * given.deviation), Normal(r, softplus(rho))
    ).sum()
    assert divergence(given, r, rho, torch.tensor(3.0)).item() == pytest.approx(exact.item())


def test_tests_average_probabilities_over_the_same_draws() -> None:
    head = GaussianHead(3, 4, 2, draws=500).eval()
    features = torch.randn(6, 3, generator=torch.Generator().manual_seed(1))
    outputs = head(features)
    assert torch.equal(outputs, head(features))
    torch.testing.assert_close(outputs[2:3], head(features[2:3]))
    mean, raw = head.encoder(features).chunk(2, dim=1)
    noise = torch.randn(20_000, 1, 2, generator=torch.Generator().manual_seed(2))
    expected = head.classifier(mean + softplus(raw) * noise).softmax(dim=-1).mean(dim=0)
    torch.testing.assert_close(outputs.softmax(dim=1), expected, atol=0.02, rtol=0)


def received(runtime: Runtime, server_round: int = 1) -> Received:
    state = runtime.trainer.task.model.state_dict()
    down = {n: state[n].clone() for n in runtime.trainer.shared}
    return Received({"arrays": down}, {"server-round": server_round, "rounds": 5})


@pytest.mark.usefixtures("double")
def test_a_step_is_that_written_out() -> None:
    training = {"batch_size": "full", "optimizer": {"lr": 0.05}}
    block = METHOD | {"length": 0.3, "conditional": 0.2}
    runtime = runtime_of(strategy=block, model=DEEP, training=training)
    model = copy.deepcopy(runtime.trainer.task.model).train()
    update, metrics = runtime.train(0, received(runtime), {})

    data = runtime.client_data(0)
    keys: dict[str, Any] = {"seed": runtime.scenario.seed, "client": 0, "server_round": 1}
    ((rows,),) = plan_round(runtime.trainer, data, batch_size="full", **keys).phases
    inputs, labels = runtime.preprocess.inputs(data.inputs[rows]), data.labels[rows]
    *body, head = model.children()
    assert isinstance(head, GaussianHead)
    mean, raw = head.encoder(nn.Sequential(*body)(inputs)).chunk(2, dim=1)
    with rng.seeded(runtime.scenario.seed, "dropout", 0, 1):
        drawn = mean + softplus(raw) * torch.randn_like(mean)
    own = Normal(head.factor * mean, head.factor * softplus(raw))
    classes = Normal(head.reference_mean[labels], softplus(head.reference_scale[labels]))
    loss = cross_entropy(head.classifier(drawn), labels)
    loss = loss + 0.3 * drawn.square().sum(dim=1).sqrt().mean()
    loss = loss + 0.2 * kl_divergence(own, classes).sum(dim=1).mean()
    loss.backward()
    torch.optim.SGD(model.parameters(), lr=0.05).step()
    assert metrics["loss"] == pytest.approx(loss.item())
    kept = update.client_state["model"]
    names = {name.rpartition(".")[2] for name in kept}
    assert names == {"reference_mean", "reference_scale", "factor"}
    torch.testing.assert_close({**update.arrays["arrays"], **kept}, dict(model.state_dict()))
    assert not runtime.trainer.supports_vmap


def test_what_a_client_learns_of_classes_goes_on_in_its_next_round() -> None:
    runtime = runtime_of(strategy=METHOD, model=DEEP)
    first, _ = runtime.train(0, received(runtime), {})
    again, _ = runtime.train(0, received(runtime, 2), first.client_state)
    fresh, _ = runtime.train(0, received(runtime, 2), {})
    for name, tensor in again.client_state["model"].items():
        moved = tensor - first.client_state["model"][name]
        start = runtime.trainer.task.initial[name]
        assert moved.norm() < (tensor - start).norm()
        assert not torch.equal(tensor, fresh.client_state["model"][name])


def test_the_global_model_is_whole(tmp_path: Path) -> None:
    chosen = toy.scenario(strategy=METHOD, model=DEEP)
    run = simulate(chosen, out=tmp_path / "run", progress=False)
    model = run.model()
    assert find_gaussian_head(model) is not None
    size = 192 * 6 + 6 + 6 * 10 + 10 + 5 * 4 + 4
    up = run.history.query("split == 'round' and metric == 'bytes_up'").value
    assert up.tolist() == [3 * 4 * size] * 2
    tests = run.history.query("split == 'test' and metric == 'accuracy' and client == -1")
    assert len(tests)


def test_a_network_without_a_dense_head_is_refused() -> None:
    with pytest.raises(InputError, match="fedsr makes what the last dense layer reads"):
        prepare(toy.scenario(strategy="fedsr", model="helpers.odd_networks:ConvolutionalHead"))
