"""The learning task of all client trainers: network, optimiser and loss."""

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
from fedlab.models.head import Head, find_head, why_no_head
from fedlab.records import Tensors
from fedlab.targets.base import Target
from fedlab.targets.classes import Classes
from fedlab.training.gradients import Differentiate, Objective, value_and_gradients
from fedlab.training.nested_gradients import value_and_gradients_nested
from fedlab.training.optimizer import Optimizer
from fedlab.training.spec import Precision, Remainder


class Batch(NamedTuple):
    """Samples of one step, normalised and augmented.

    Attributes:
        inputs: float32 of shape (batch, ...).
        labels: int64 of shape (batch,); float32 of shape (batch, outputs) where other targets
            than classes are learnt.
        indices: Indices into the client's training samples, int64 of shape (batch,).
        labelled: Whether a sample's label may be used, bool of shape (batch,); only in phases with
            ``split="all"``.
        strong: The same samples with strong augmentation, of the shape of `inputs`; only in phases
            with ``strong_views``. With ``Phase.unlabelled``, the unlabelled samples are the last
            of the batch, and `strong` has views of these alone.
        noise: What the method draws for the step (`ClientTrainer.draw`), None by default.
        prepared: What the method makes once for the whole step (`ClientTrainer.before_step`).
    """

    inputs: torch.Tensor
    labels: torch.Tensor
    indices: torch.Tensor
    labelled: torch.Tensor | None = None
    strong: torch.Tensor | None = None
    noise: torch.Tensor | None = None
    prepared: Tensors | None = None


@dataclass(frozen=True)
class Task:
    """The learning problem that all clients share.

    Attributes:
        model: The network. Its values are the initial values of tensors that a client neither
            receives nor keeps; they are never written to.
        optimizer: The local optimiser.
        classes: Number of classes; of outputs where other targets are learnt.
        loss: The loss function.
        local_epochs: Passes over the client's samples in a round.
        local_steps: Steps in a round instead of passes, or None.
        remainder: Treatment of samples that do not fill the last batch of a pass.
        differentiate: The function that computes gradients.
        constant: Names of parameters that no step writes to, in addition to frozen ones.
        precision: Precision of the network while it trains; parameters, gradients and losses are
            always float32.
        holds: Whether a client's tensors stay in the network until gradients are computed, as the
            backward pass runs parts of it again (activation checkpointing).
        alone: Whether clients train one by one, as the network cannot be stacked.
        target: What is learnt.
        formed: Whether low-rank form (`fedlab.engine.execution.low_rank`) is excluded for dense
            layers, as other parts of the network read their weights.
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
    target: Target = field(default_factory=Classes)

    def for_vmap(self) -> Task:
        """The same task with a loss and gradients that `torch.func.vmap` supports."""
        return replace(self, loss=self.loss.for_vmap(), differentiate=value_and_gradients_nested)

    @cached_property
    def anatomy(self) -> Anatomy:
        """Names and kinds of the network's tensors."""
        return anatomy_of(self.model)

    @cached_property
    def initial(self) -> Tensors:
        """The network's own tensors by their first names; must not be written to."""
        return {name: tensor.detach() for name, tensor in self._places.own.items()}

    @cached_property
    def _places(self) -> Places:
        return Places(self.model)

    def split(self, state: Tensors) -> tuple[Tensors, Tensors]:
        """Splits a state into (trainable parameters, buffers).

        Buffers that are not in the state, as they never travel, have their initial values.
        """
        parameters = {name: state[name] for name in self.anatomy.learning}
        initial = self.initial
        buffers = {
            name: state[name] if name in state else initial[name] for name in self.anatomy.buffers
        }
        return parameters, buffers

    def outputs(self, parameters: Tensors, buffers: Tensors, inputs: torch.Tensor) -> torch.Tensor:
        """The network's outputs, shape (batch, classes); training mode updates `buffers`.

        Frozen parameters are taken from the network.
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
        """Gradients (see `fedlab.training.gradients`), after the hooks of parameters."""
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
        """Hooks of parameters' gradients (`torch.Tensor.register_hook`), by name."""
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
                f"model: the method needs the head of {type(self.model).__name__}, which "
                f"{why_no_head(self.model)}"
            )
        return head

    def features_and_outputs(
        self, parameters: Tensors, buffers: Tensors, inputs: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The inputs of the last dense layer, shape (batch, features), and the outputs."""
        with self.head.listen() as captured:
            outputs = self.outputs(parameters, buffers, inputs)
        return captured[-1].to(outputs.dtype), outputs
