"""FedWon's client trainer: what it does with the gradients of a step."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fedlab.clients.base import Carry, Received
from fedlab.clients.fedwon import FedWon
from fedlab.losses.base import ClientStats
from fedlab.models.adaptive_clipping import adaptive_gradient_clip
from fedlab.records import Tensors
from fedlab.strategies.fedwon import FedWonParameters
from fedlab.training.local_round import Phase
from fedlab.training.optimizer import Optimizer
from fedlab.training.spec import OptimizerSpec
from fedlab.training.task import Batch, Task

CLASSES = 3


def begun(clipping: float | None) -> tuple[FedWon, Carry, Batch]:
    """A convolution, a dense head, and a batch that pulls hard at both."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4, CLASSES))
    parameters = FedWonParameters(clipping=clipping)
    task = Task(parameters.adapt(model), Optimizer(OptimizerSpec(lr=0.1)), CLASSES)
    trainer = FedWon(parameters, task)
    received = Received({"arrays": dict(task.model.state_dict())})
    carry = trainer.begin(received, {}, ClientStats(torch.ones(CLASSES), 6))
    labels = torch.arange(6) % CLASSES
    return trainer, carry, Batch(100 * torch.randn(6, 2, 3, 3), labels, torch.arange(6))


def gradients(clipping: float | None) -> tuple[Tensors, Tensors]:
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
