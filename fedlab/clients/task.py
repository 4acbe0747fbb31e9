"""What every local half is built with: the network and how to learn with it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
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
from fedlab.clients.spec import Precision, Remainder
from fedlab.errors import InputError
from fedlab.losses.base import Loss
from fedlab.losses.cross_entropy import CrossEntropy
from fedlab.models.head import Head, find_head
from fedlab.records import Tensors


class Batch(NamedTuple):
    """Samples of one step, normalised and augmented.

    Attributes:
        inputs: float32 of shape (batch, ...).
        labels: int64 of shape (batch,).
        rows: Which of the client's training samples they are, int64 of shape (batch,).
        labelled: Whose labels may be used, bool of shape (batch,); only in phases that read
            labelled and unlabelled samples alike.
        strong: The same samples changed more strongly, of the shape of `inputs`; only in phases
            that ask for it. Where a phase reads unlabelled samples beside the labelled ones
            (``Phase.unlabelled``), they are the last of the batch, and these are views of them
            alone.
    """

    inputs: torch.Tensor
    labels: torch.Tensor
    rows: torch.Tensor
    labelled: torch.Tensor | None = None
    strong: torch.Tensor | None = None


@dataclass(frozen=True)
class Task:
    """The learning problem that all clients share.

    Attributes:
        model: The network. Its values are the starting values of whatever a client neither
            receives nor remembers; nobody writes to them.
        optimizer: The local optimiser.
        classes: Number of classes.
        loss: What the outputs are judged by.
        local_epochs: Passes over the client's samples in a round.
        local_steps: Steps in a round instead of passes, or None.
        remainder: What becomes of samples that do not fill the last batch of a pass.
        differentiate: How gradients are taken.
        constant: Names of parameters that no step writes to.
        precision: What the network computes in while it trains; parameters, gradients and losses
            are float32 in any case.
    """

    model: nn.Module
    optimizer: Optimizer
    classes: int
    loss: Loss = field(default_factory=CrossEntropy)
    local_epochs: int = 1
    local_steps: int | None = None
    remainder: Remainder = "keep"
    differentiate: Differentiate = value_and_gradients
    constant: frozenset[str] = frozenset()
    precision: Precision = "float32"

    def for_stacks(self) -> Task:
        """The same task, made of what `torch.func.vmap` can do, and does quickly."""
        return replace(self, loss=self.loss.for_stacks(), differentiate=value_and_gradients_nested)

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
        tensors, tied = {**parameters, **buffers}, self._tied
        if self.precision == "float32":
            return torch.func.functional_call(self.model, tensors, (inputs,), tie_weights=tied)
        with torch.autocast(inputs.device.type, torch.bfloat16):
            outputs = torch.func.functional_call(self.model, tensors, (inputs,), tie_weights=tied)
        return outputs.float()

    @cached_property
    def head(self) -> Head:
        """The last dense layer.

        Raises:
            InputError: If the network has none.
        """
        head = find_head(self.model)
        if head is None:
            raise InputError(
                f"model: {type(self.model).__name__} has no dense layer (torch.nn.Linear) that "
                "could be its head, which the method needs; choose a network that ends with one"
            )
        return head

    def features_and_outputs(
        self, parameters: Tensors, buffers: Tensors, inputs: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What the last dense layer is given, shape (batch, features), and the outputs."""
        with self.head.listen() as heard:
            outputs = self.outputs(parameters, buffers, inputs)
        return heard[-1].to(outputs.dtype), outputs
