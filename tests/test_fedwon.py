"""FedWon's client trainer: what it does with the gradients of a step."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.func import functional_call

from fedlab.clients.base import Carry, Received
from fedlab.clients.fedwon import FedWon
from fedlab.errors import InputError
from fedlab.losses.base import ClientStats
from fedlab.models.adaptive_clipping import adaptive_gradient_clip
from fedlab.preparation import prepare
from fedlab.records import Tensors
from fedlab.strategies.fedwon import FedWon as Server
from fedlab.strategies.fedwon import FedWonParameters
from fedlab.training.local_round import Phase
from fedlab.training.optimizer import Optimizer
from fedlab.training.spec import OptimizerSpec
from fedlab.training.task import Batch, Task
from helpers import toy

CLASSES = 3


def begun(clipping: Any = None, **rest: Any) -> tuple[FedWon, Carry, Batch]:
    """A convolution, a dense head, and a batch that pulls hard at both."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4, CLASSES))
    parameters = FedWonParameters(clipping=clipping, **rest)
    task = Task(parameters.adapt(model), Optimizer(OptimizerSpec(lr=0.1)), CLASSES)
    trainer = FedWon(parameters, task)
    received = Received({"arrays": dict(task.model.state_dict())})
    carry = trainer.begin(received, {}, ClientStats(torch.ones(CLASSES), 6))
    labels = torch.arange(6) % CLASSES
    return trainer, carry, Batch(100 * torch.randn(6, 2, 3, 3), labels, torch.arange(6))


def gradients(clipping: Any) -> tuple[Tensors, Tensors]:
    trainer, carry, batch = begun(clipping)
    return trainer.gradients(carry, batch, Phase())[0], carry.parameters


def test_a_step_clips_every_unit_but_those_of_the_head() -> None:
    plain, parameters = gradients(None)
    clipped, _ = gradients(0.01)
    expected = adaptive_gradient_clip(parameters, plain, 0.01)
    for name in ("0.weight", "0.bias", "0.gain"):
        assert not torch.equal(clipped[name], plain[name])  # or the test would say nothing
        torch.testing.assert_close(clipped[name], expected[name])
    for name in ("3.weight", "3.bias"):
        assert not torch.equal(expected[name], plain[name])
        torch.testing.assert_close(clipped[name], plain[name])


def test_no_unit_moves_by_more_than_its_share() -> None:
    clipped, parameters = gradients(0.02)
    kernel, gradient = parameters["0.weight"].flatten(1), clipped["0.weight"].flatten(1)
    shares = gradient.norm(dim=1) / kernel.norm(dim=1)
    assert shares.max().item() == pytest.approx(0.02, rel=1e-4)


def test_the_step_takes_the_clipped_gradients() -> None:
    trainer, carry, batch = begun(0.01)
    before = {name: tensor.clone() for name, tensor in carry.parameters.items()}
    clipped, _ = trainer.gradients(carry, batch, Phase())
    carry, _ = trainer.step(carry, batch, Phase(), 1)
    for name, tensor in carry.parameters.items():
        torch.testing.assert_close(tensor, before[name] - 0.1 * clipped[name])


def test_thresholds_go_by_the_size_of_a_batch() -> None:
    by_size = {2: 0.01, 6: 0.02, 32: 0.16}
    of = FedWonParameters(clipping=by_size).clipping_of
    found = [of(size) for size in (1, 2, 5, 6, 31, 32, 99)]
    assert found == [0.01, 0.01, 0.01, 0.02, 0.02, 0.16, 0.16]
    torch.testing.assert_close(gradients(by_size)[0], gradients(0.02)[0])  # six samples
    with pytest.raises(ValueError, match="names no batch size"):
        FedWonParameters(clipping={})


def test_standardised_weights_may_travel_and_compute_the_same() -> None:
    trainer, carry, batch = begun(transmit="standardised")
    carry, _ = trainer.step(carry, batch, Phase(), 1)
    sent = trainer.finish(carry, Received({"arrays": {}}), 1).arrays["arrays"]
    kernels = sent["0.weight"].flatten(1)
    torch.testing.assert_close(kernels.sum(dim=1), torch.zeros(4), atol=1e-6, rtol=0)
    torch.testing.assert_close(kernels.square().sum(dim=1), torch.ones(4))
    for name in ("0.gain", "0.bias", "3.weight"):
        assert torch.equal(sent[name], carry.parameters[name])
    model = trainer.task.model
    ours, raw = (functional_call(model, w, (batch.inputs,)) for w in (sent, carry.parameters))
    torch.testing.assert_close(ours, raw, rtol=1e-4, atol=1e-4)
    server = Server(model, trainer.parameters)
    server.initialise(dict(model.state_dict()))
    first = server.state["arrays"]["0.weight"].flatten(1)
    torch.testing.assert_close(first.square().sum(dim=1), torch.ones(4))


@pytest.mark.parametrize(("key", "value"), [("transmit", "standardised"), ("gamma", 1.5)])
def test_what_is_said_of_convolutions_is_refused_without_any(key: str, value: Any) -> None:
    strategy = {"name": "fedwon", key: value}
    with pytest.raises(InputError, match=rf"strategy\.{key}: .* the model 'mlp' has none"):
        prepare(toy.scenario(strategy=strategy, model="mlp"))


def test_where_nothing_is_left_of_it_that_is_said(caplog: pytest.LogCaptureFixture) -> None:
    prepare(toy.scenario(strategy="fedwon", model="mlp"))
    assert "fedwon is fedavg on the model 'mlp'" in caplog.text
    caplog.clear()
    prepare(toy.scenario(strategy={"name": "fedwon", "clipping": 0.1}, model="mlp"))
    prepare(toy.scenario(strategy="fedwon", model="small_cnn"))
    assert "fedwon is fedavg" not in caplog.text
