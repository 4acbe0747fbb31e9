"""What every local half is built with: the network and how to learn with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import torch
from torch import nn

from fedlab.clients.differentiate import (
    Differentiate,
    value_and_gradients,
    value_and_gradients_nested,
)
from fedlab.clients.optimizer import Optimizer
from fedlab.records import Tensors


class Batch(NamedTuple):
    """Samples of one step, normalised and augmented.

    Attributes:
        inputs: float32 of shape (batch, ...).
        labels: int64 of shape (batch,).
    """

    inputs: torch.Tensor
    labels: torch.Tensor


def mean_cross_entropy(outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy in few operations: `torch.func.vmap` takes PyTorch's own apart into dozens."""
    chances = nn.functional.log_softmax(outputs, dim=-1)
    return -chances.gather(-1, labels.unsqueeze(-1)).mean()


@dataclass(frozen=True)
class Task:
    """The learning problem that all clients share.

    Attributes:
        model: The network. Its values are the starting values of whatever a client neither
            receives nor remembers; nobody writes to them.
        optimizer: The local optimiser.
        loss: (outputs of shape (batch, classes), labels of shape (batch,)) -> mean loss.
        local_epochs: Passes over the client's samples in a round.
        local_steps: Steps in a round instead of passes, or None.
        differentiate: How gradients are taken.
    """

    model: nn.Module
    optimizer: Optimizer
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = nn.functional.cross_entropy
    local_epochs: int = 1
    local_steps: int | None = None
    differentiate: Differentiate = value_and_gradients

    def for_stacks(self) -> Task:
        """The same task, made of what `torch.func.vmap` can do, and does quickly."""
        usual = self.loss is nn.functional.cross_entropy
        loss = mean_cross_entropy if usual else self.loss
        return replace(self, loss=loss, differentiate=value_and_gradients_nested)

    def split(self, state: Tensors) -> tuple[Tensors, Tensors]:
        """Divides a state dict into (parameters, buffers)."""
        parameters = {name: state[name] for name, _ in self.model.named_parameters()}
        buffers = {name: state[name] for name, _ in self.model.named_buffers()}
        return parameters, buffers

    @cached_property
    def _tied(self) -> bool:
        """Whether two names stand for one parameter; looking for that costs as much as a layer."""
        names = self.model.named_parameters(remove_duplicate=False)
        return len(list(names)) > len(list(self.model.parameters()))

    def outputs(self, parameters: Tensors, buffers: Tensors, inputs: torch.Tensor) -> torch.Tensor:
        """The network's outputs, shape (batch, classes); training mode updates `buffers`."""
        tensors = {**parameters, **buffers}
        return torch.func.functional_call(self.model, tensors, (inputs,), tie_weights=self._tied)
