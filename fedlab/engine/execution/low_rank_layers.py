"""One client's round with the wide dense layers of its network in low-rank form.

The other layers learn as usual. See `fedlab.engine.execution.low_rank` for the form and for when it
is exact.
"""

from __future__ import annotations

import copy
from collections import Counter, defaultdict
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from fedlab.clients.base import Carry, ClientTrainer, Received
from fedlab.engine.execution.low_rank import LaterLayer
from fedlab.engine.execution.low_rank_rule import (
    LARGE,
    Form,
    LayerWork,
    may_be_low_rank,
    sends_the_model,
)
from fedlab.models.copies import copy_of
from fedlab.models.dense_chain import has_hooks
from fedlab.models.surgery import replace_modules
from fedlab.records import Tensors
from fedlab.training.gradients import Objective, known


class _Slot(nn.Linear):
    """A dense layer that can be switched to low-rank form."""

    low_rank: LaterLayer | None = None

    @classmethod
    def of(cls, layer: nn.Linear) -> _Slot:
        """A slot with a layer's parameters."""
        slot = cls(layer.in_features, layer.out_features, layer.bias is not None, device="meta")
        slot.weight, slot.bias = layer.weight, layer.bias
        return slot

    def forward(self, input: Tensor) -> Tensor:
        """(batch, inputs) -> (batch, outputs)."""
        if self.low_rank is None:
            return super().forward(input)
        if self.low_rank.probes:
            raise RuntimeError(
                "a dense layer that was called once for a batch when the network was tried is now "
                "called twice; set engine.dense_layers=dense"
            )
        with torch.autocast(input.device.type, enabled=False):
            rows = input.to(self.weight.dtype).unsqueeze(0)
            return self.low_rank.outputs(rows).squeeze(0)


class WideLayers:
    """The dense layers of a method's network that can take low-rank form.

    Args:
        trainer: The method's client trainer.
        form: The scenario's ``engine.dense_layers``.
        paths: Paths of the layers in the network.

    Attributes:
        trainer: The client trainer with a copy of the network in which these layers are slots.
    """

    def __init__(self, trainer: ClientTrainer, form: Form, paths: list[str]) -> None:
        self.form: Form = form
        model = copy_of(trainer.task.model)
        found = {model.get_submodule(path) for path in paths}
        model = replace_modules(
            model, lambda m: _Slot.of(m) if isinstance(m, nn.Linear) and m in found else m
        )
        self.slots = {path: cast(_Slot, model.get_submodule(path)) for path in paths}
        self.trainer = copy.copy(trainer)
        self.trainer.task = replace(
            trainer.task, model=model, differentiate=self._differentiate_and_learn
        )
        self._lr = 0.0
        self._chosen: tuple[str, ...] = ()
        self._halves: dict[tuple[str, ...], ClientTrainer] = {}

    @classmethod
    def of(cls, trainer: ClientTrainer, form: Form, samples: Tensor) -> WideLayers | None:
        """The layers of a method's network that can take low-rank form, or None.

        With ``auto``, only layers of at least `LARGE` weights: for a single client, the overhead
        outweighs the gain in smaller ones.

        Args:
            trainer: The method's client trainer.
            form: The scenario's ``engine.dense_layers``.
            samples: Inputs of the network, shape (n, ...) with n > 1.
        """
        if form == "dense" or not may_be_low_rank(trainer):
            return None
        model = trainer.task.model
        paths = [
            path
            for path in _plainly_used(model, samples)
            if form == "low_rank" or _size(model, path) >= LARGE
        ]
        return cls(trainer, form, paths) if paths else None

    def choose(self, work: LayerWork) -> ClientTrainer:
        """The client trainer for a round of this length; to be called before `begin`."""
        optimizer = self.trainer.task.optimizer
        self._chosen = tuple(
            path
            for path, slot in self.slots.items()
            if work.low_rank_alone(slot.weight, optimizer, self.form)
        )
        if self._chosen not in self._halves:
            names = [_names(path, self.slots[path]) for path in self._chosen]
            constant = frozenset(name for pair in names for name in pair if name)
            trainer = copy.copy(self.trainer)
            trainer.task = replace(trainer.task, constant=constant)
            self._halves[self._chosen] = trainer
        return self._halves[self._chosen]

    def begin(self, carry: Carry, received: Received, seen: int) -> Carry:
        """Puts the chosen layers into low-rank form.

        Args:
            carry: The result of the trainer's `begin`.
            received: What came down.
            seen: Samples that the client will read in all steps together.

        Returns:
            The carry without the weights and biases of those layers.
        """
        optimizer = self.trainer.task.optimizer
        self._lr = optimizer.learning_rate(received.server_round)
        parameters = dict(carry.parameters)
        for path, slot in self.slots.items():
            slot.low_rank = None
            if path in self._chosen:
                weight, bias = _names(path, slot)
                start = parameters.pop(weight), parameters.pop(bias) if bias else None
                slot.low_rank = LaterLayer(*start, 1, seen, optimizer)
        return carry._replace(parameters=parameters)

    def _differentiate_and_learn(
        self, objective: Objective, at: Tensors, buffers: Tensors
    ) -> tuple[Tensors, Tensor, Any]:
        """`fedlab.training.gradients.value_and_gradients`, with a step of low-rank layers."""
        leaves = {name: tensor.detach().requires_grad_() for name, tensor in at.items()}
        layers = [slot.low_rank for slot in self.slots.values() if slot.low_rank]
        for layer in layers:
            layer.probes = []
        with torch.enable_grad():
            value, extra = objective(leaves, buffers)
        called = [layer for layer in layers if layer.probes]
        probes = [layer.probes[0] for layer in called]
        grads = torch.autograd.grad(value, [*leaves.values(), *probes], allow_unused=True)
        for layer, grad in zip(called, grads[len(leaves) :], strict=True):
            if grad is not None:  # a layer without a gradient takes no step
                layer.learn([grad], self._lr)
        return known(dict(zip(leaves, grads, strict=False))), value.detach(), extra

    def finish(self, carry: Carry, summed: bool = False) -> Carry:
        """The carry with all weights and biases, after the last step.

        Args:
            carry: The carry after the last step.
            summed: Whether the update will only be added to others: if the method sends the model
                unchanged, weights are then `fedlab.federation.low_rank_sum.LowRankSum`.
        """
        formed: dict[str, Any] = dict(carry.parameters)
        as_they_are = (
            set(self.trainer.shared) if summed and sends_the_model(self.trainer) else set()
        )
        for path, slot in self.slots.items():
            if slot.low_rank is None:
                continue
            weight, bias = _names(path, slot)
            if weight in as_they_are:
                formed[weight] = slot.low_rank.factors.unformed()
            else:
                formed[weight] = slot.low_rank.weights()[0]
            if (biases := slot.low_rank.biases()) is not None and bias:
                formed[bias] = biases[0]
            slot.low_rank = None
        return carry._replace(parameters=formed)


def _size(model: nn.Module, path: str) -> int:
    """Number of weights of a dense layer."""
    return cast(nn.Linear, model.get_submodule(path)).weight.numel()


def _names(path: str, layer: nn.Linear) -> tuple[str, str | None]:
    """Names of a layer's weight and bias in the network's state dict."""
    prefix = f"{path}." if path else ""
    return f"{prefix}weight", None if layer.bias is None else f"{prefix}bias"


def _plainly_used(model: nn.Module, samples: Tensor) -> list[str]:
    """Paths of the dense layers that are called once for a batch, with one row for each sample.

    Layers that share parameters with others, have hooks, or whose parameters are frozen or have
    hooks, are left out. Whether something else reads a layer's weights is not checked here but in
    `fedlab.engine.step_check`.
    """
    names = Counter(parameter for _, parameter in model.named_parameters(remove_duplicate=False))

    def learns_alone(parameter: nn.Parameter) -> bool:
        learns = parameter.requires_grad and not parameter._backward_hooks
        return learns and names[parameter] == 1

    calls: dict[str, list[torch.Size]] = defaultdict(list)

    def listen(path: str, layer: nn.Module) -> RemovableHandle:
        return layer.register_forward_pre_hook(lambda _, x: calls[path].append(x[0].shape[:-1]))

    handles = [
        listen(path, module)
        for path, module in model.named_modules()
        if type(module) is nn.Linear
        and not has_hooks(module)
        and all(map(learns_alone, module.parameters()))
    ]
    model.eval()
    try:
        with torch.no_grad():
            model(samples)
    finally:
        for handle in handles:
            handle.remove()
    return [path for path, shapes in calls.items() if shapes == [samples.shape[:1]]]
