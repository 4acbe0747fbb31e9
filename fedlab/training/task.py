"""What every client trainer is built with: the network and how to learn with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import nn

from fedlab.errors import InputError
from fedlab.losses.base import Loss
from fedlab.losses.cross_entropy import CrossEntropy
from fedlab.models.anatomy import Anatomy, anatomy_of
from fedlab.models.anatomy.places import Places
from fedlab.models.head import Head, find_head
from fedlab.records import Tensors
from fedlab.training.gradients import (
    Differentiate,
    Objective,
    value_and_gradients,
    value_and_gradients_nested,
)
from fedlab.training.optimizer import Optimizer
from fedlab.training.spec import Precision, Remainder


class Batch(NamedTuple):
    """Samples of one step, normalised and augmented.

    Attributes:
        inputs: float32 of shape (batch, ...).
        labels: int64 of shape (batch,).
        indices: Which of the client's training samples they are, int64 of shape (batch,).
        labelled: Whose labels may be used, bool of shape (batch,); only in phases that read
            labelled and unlabelled samples alike.
        strong: The same samples changed more strongly, of the shape of `inputs`; only in phases
            that ask for it. Where a phase reads unlabelled samples beside the labelled ones
            (``Phase.unlabelled``), they are the last of the batch, and these are views of them
            alone.
    """

    inputs: torch.Tensor
    labels: torch.Tensor
    indices: torch.Tensor
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
        constant: Names of parameters that no step writes to, beside those that are frozen.
        precision: What the network computes in while it trains; parameters, gradients and losses
            are float32 in any case.
        holds: Whether a client's tensors stay in the network until gradients are taken, because
            its backward pass runs parts of it again.
        alone: Whether clients train one by one, because the network cannot be stacked.
        formed: Whether dense layers learn with their weights formed (not in low-rank form, see
            `fedlab.engine.execution.low_rank`), because something else of the network reads them.
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
    holds: bool = False
    alone: bool = False
    formed: bool = False

    def for_vmap(self) -> Task:
        """The same task, made of what `torch.func.vmap` can do, and does quickly."""
        return replace(self, loss=self.loss.for_vmap(), differentiate=value_and_gradients_nested)

    @cached_property
    def anatomy(self) -> Anatomy:
        """What the network is made of."""
        return anatomy_of(self.model)

    @cached_property
    def initial(self) -> Tensors:
        """The network's own tensors by their first names; not to be written to."""
        return {name: tensor.detach() for name, tensor in self._places.own.items()}

    @cached_property
    def _places(self) -> Places:
        return Places(self.model)

    def split(self, state: Tensors) -> tuple[Tensors, Tensors]:
        """Divides a state into (parameters that learn, buffers).

        What it lacks, of buffers that never travel, has its initial value.
        """
        parameters = {name: state[name] for name in self.anatomy.learning}
        initial = self.initial
        buffers = {
            name: state[name] if name in state else initial[name] for name in self.anatomy.buffers
        }
        return parameters, buffers

    def outputs(self, parameters: Tensors, buffers: Tensors, inputs: torch.Tensor) -> torch.Tensor:
        """The network's outputs, shape (batch, classes); training mode updates `buffers`.

        Frozen parameters are the network's own.
        """
        places = self._places
        try:
            places.put(parameters)
            places.put(buffers)
            if self.precision == "float32":
                return self.model(inputs)
            with torch.autocast(inputs.device.type, torch.bfloat16):
                return self.model(inputs).float()
        finally:
            places.take(buffers)
            if not (self.holds and any(each.requires_grad for each in parameters.values())):
                places.restore()

    def gradients(
        self, objective: Objective, at: Tensors, buffers: Tensors
    ) -> tuple[Tensors, torch.Tensor, Any]:
        """Gradients (see `fedlab.training.gradients`), past the hooks of parameters."""
        try:
            gradients, value, extra = self.differentiate(objective, at, buffers)
        finally:
            if self.holds:
                self._places.restore()
        for name, hooks in self._hooks.items():
            for hook in hooks if name in gradients else ():
                changed = hook(gradients[name])
                gradients[name] = gradients[name] if changed is None else changed
        return gradients, value, extra

    @cached_property
    def _hooks(self) -> dict[str, list[Callable[[torch.Tensor], torch.Tensor | None]]]:
        """What a parameter's gradient passes (`torch.Tensor.register_hook`), by its name."""
        named = self.model.named_parameters()
        hooks = {name: list((tensor._backward_hooks or {}).values()) for name, tensor in named}
        return {name: each for name, each in hooks.items() if each}

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
