"""One training step of a network, taken by a client trainer and in plain PyTorch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import NamedTuple

import torch
from torch import nn

from fedlab.clients.base import Carry, ClientTrainer, Phase, Received
from fedlab.data.trial_samples import TrialSamples
from fedlab.engine.execution.low_rank_layers import WideLayers
from fedlab.engine.execution.low_rank_rule import Form, LayerWork
from fedlab.engine.execution.quick_passes import quick_passes
from fedlab.errors import InputError, format_error
from fedlab.losses.base import Loss
from fedlab.models.anatomy import fill
from fedlab.models.anatomy.observed import same_chance
from fedlab.models.copies import copy_of
from fedlab.models.memory_format import channels_last
from fedlab.records import Tensors
from fedlab.strategies.parameters import StrategyParameters
from fedlab.training.optimizer import Optimizer
from fedlab.training.spec import OptimizerSpec
from fedlab.training.task import Batch, Task

ROUNDING = {torch.float64: 1e-8, torch.float32: 1e-3}
"""Largest difference due to rounding, relative to the largest entries of the tensor and of all."""

LARGE = 20_000_000
"""Number of parameters above which steps are compared in float32, to save memory."""


class Step(NamedTuple):
    """Gradients and buffers of a step.

    Attributes:
        gradients: By parameter; a missing one is zero.
        buffers: Values after the step, by name.
    """

    gradients: Tensors
    buffers: Tensors


class StepDifference(NamedTuple):
    """The largest difference between two steps.

    Attributes:
        tensor: Its name.
        what: ``gradient`` or ``buffer``.
        size: The largest absolute difference of an entry.
        scale: The largest absolute value of an entry.
        allowed: The largest `size` due to rounding.
    """

    tensor: str
    what: str
    size: float
    scale: float
    allowed: float

    @property
    def is_rounding(self) -> bool:
        """Whether the difference can be due to rounding."""
        return self.size <= self.allowed

    def __str__(self) -> str:
        return f"the {self.what} of '{self.tensor}' differs by {self.size:.2g} of {self.scale:.2g}"


@dataclass(frozen=True)
class StepTrial:
    """The comparison of one network.

    Args:
        task: The learning problem.
        samples: The samples of the step.
        name: The network's name, for messages.
    """

    task: Task
    samples: TrialSamples
    name: str

    @cached_property
    def model(self) -> nn.Module:
        """A copy of the network, in float64 if it supports that."""
        copied = copy_of(self.task.model).cpu()
        if sum(each.numel() for each in copied.parameters()) > LARGE:
            return copied
        double = copy_of(copied).double()
        try:
            with same_chance(), torch.no_grad():
                fill(copy_of(double), {}).train()(self._inputs(torch.float64))
        except Exception:  # some networks make float32 tensors themselves
            return copied
        return double

    @cached_property
    def dtype(self) -> torch.dtype:
        """The dtype in which the steps are compared."""
        return next(self.model.parameters()).dtype

    def _inputs(self, dtype: torch.dtype) -> torch.Tensor:
        inputs = self.samples.inputs.cpu()
        if inputs.is_floating_point():  # noise, as ties in a maximum have no unique gradient
            generator = torch.Generator().manual_seed(0)
            inputs = inputs + 0.1 * torch.randn(inputs.shape, generator=generator).to(inputs)
        return channels_last(inputs.to(dtype) if inputs.is_floating_point() else inputs)

    @cached_property
    def inputs(self) -> torch.Tensor:
        """The samples, in `dtype`."""
        return self._inputs(self.dtype)

    @cached_property
    def labels(self) -> torch.Tensor:
        """Their labels; numbers in `dtype`."""
        labels = self.samples.labels.cpu()
        return labels.to(self.dtype) if labels.is_floating_point() else labels

    @cached_property
    def start(self) -> Tensors:
        """Values of the same magnitude as the network's own, but with other active units."""
        generator = torch.Generator().manual_seed(0)

        def elsewhere(tensor: torch.Tensor) -> torch.Tensor:
            factor = 0.5 + torch.rand(tensor.shape, generator=generator, dtype=tensor.dtype)
            # Tensors of one sign may have to keep it (a scale, a variance).
            if tensor.dim() > 1 and bool((tensor > 0).any() and (tensor < 0).any()):
                factor *= 1 - 2 * (torch.rand(tensor.shape, generator=generator) < 0.25).to(factor)
            return tensor.detach() * factor

        return {
            name: elsewhere(tensor) if tensor.requires_grad else tensor.detach().clone()
            for name, tensor in (*self.model.named_parameters(), *self.model.named_buffers())
        }

    @cached_property
    def plain(self) -> Step:
        """The step in plain PyTorch.

        Raises:
            InputError: If the network fails while it trains.
        """
        network = fill(copy_of(self.model), self.start).train()
        try:
            with same_chance():
                outputs = network(self.inputs)
                _refuse_outputs(self.name, outputs)
                self.task.target.of_samples.losses(outputs, self.labels).mean().backward()
        except InputError:
            raise
        except Exception as error:  # a user's network may raise anything
            raise InputError(
                f"model '{self.name}' fails in a training step on samples of shape "
                f"{tuple(self.inputs.shape)}: {format_error(error)}; mend it, or choose another "
                "network"
            ) from error
        learning = {n: p for n, p in network.named_parameters() if p.requires_grad}
        gradients = {
            name: torch.zeros_like(each) if each.grad is None else each.grad
            for name, each in learning.items()
        }
        return Step(gradients, dict(network.named_buffers()))

    def clients(self, task: Task) -> Step:
        """The step of a client that trains one by one."""
        trainer = self._trainer(task)
        trainer.task.model.train()
        parameters, buffers = self._started(trainer)
        own = {name: tensor.clone() for name, tensor in trainer.task.initial.items()}
        with same_chance(), quick_passes(trainer):
            carry = Carry(parameters, buffers, {}, {})
            gradients, _ = trainer.gradients(carry, self._batch(), Phase())
        for name, tensor in trainer.task.initial.items():
            if not torch.equal(tensor, own[name]):
                raise RuntimeError(f"it writes to '{name}', which all clients share")
        return Step(gradients, carry.buffers)

    def stacked(self) -> Step:
        """The step of the first of two stacked clients."""
        trainer = self._trainer(self.task).for_vmap()
        trainer.task.model.train()
        started = self._started(trainer)
        parameters, buffers = (
            {
                name: torch.stack([tensor, tensor * 1.01])
                if tensor.is_floating_point()
                else torch.stack([tensor, tensor])
                for name, tensor in part.items()
            }
            for part in started
        )
        carry = Carry(parameters, buffers, {}, {})
        inputs, labels, indices = (torch.stack([each, each]) for each in self._batch()[:3])
        batch = Batch(inputs, labels, indices)
        step = torch.func.vmap(
            partial(trainer.gradients, phase=Phase()),
            in_dims=(0, Batch(0, 0, 0, None, None)),  # type: ignore[arg-type]
        )
        with same_chance():
            gradients, _ = step(carry, batch)
        return Step(
            {name: each[0] for name, each in gradients.items()},
            {name: each[0] for name, each in buffers.items()},
        )

    def low_rank(self, task: Task, form: Form) -> Step:
        """The step of a client whose wide dense layers are in low-rank form, where supported."""
        trainer = self._trainer(task)
        wide = WideLayers.of(trainer, form, self.inputs)
        if wide is None:
            return self.plain
        samples = len(self.inputs)
        trainer = wide.choose(LayerWork(1, samples, samples))
        trainer.task.model.train()
        parameters, buffers = self._started(trainer)
        carry = wide.begin(Carry(parameters, buffers, {}, {}), Received({}), samples)
        with same_chance(), quick_passes(trainer):
            gradients, _ = trainer.gradients(carry, self._batch(), Phase())
        learnt = wide.finish(carry).parameters
        moves = {n: parameters[n] - tensor for n, tensor in learnt.items() if n not in gradients}
        return Step({**gradients, **moves}, carry.buffers)  # at a learning rate of 1

    def _trainer(self, task: Task) -> ClientTrainer:
        target = task.target.of_samples
        own = replace(
            task,
            model=copy_of(self.model),
            optimizer=Optimizer(OptimizerSpec(lr=1.0)),
            loss=Loss.choose(target.loss),
            target=target,
            precision="float32",
            constant=frozenset(),
        )
        return ClientTrainer(StrategyParameters(name="fedavg"), own)

    def _started(self, trainer: ClientTrainer) -> tuple[Tensors, Tensors]:
        parameters, buffers = trainer.task.split(self.start)
        return {n: channels_last(t).clone() for n, t in parameters.items()}, {
            n: t.clone() for n, t in buffers.items()
        }

    def _batch(self) -> Batch:
        labels = self.labels
        return Batch(self.inputs, labels, torch.arange(len(labels)))

    def compare(self, step: Step) -> StepDifference | None:
        """The largest difference of a step from that in plain PyTorch; None without tensors."""
        largest = max(
            (float(g.abs().max()) for g in self.plain.gradients.values() if g.numel()), default=0.0
        )
        rounding = ROUNDING[self.dtype]
        found = []
        for what, wanted, got in (
            ("gradient", self.plain.gradients, step.gradients),
            ("buffer", self.plain.buffers, step.buffers),
        ):
            for name, one in wanted.items():
                if not one.numel() or (what == "buffer" and name not in got):
                    continue
                other = got[name] if name in got else torch.zeros_like(one)
                one, other = one.detach().double(), other.detach().double()
                scale = float(one.abs().max())
                size = float((one - other).abs().max()) if one.shape == other.shape else torch.inf
                size = torch.inf if size != size else size  # not a number
                allowed = rounding * (scale + (largest if what == "gradient" else 0.0)) + 1e-12
                found.append(StepDifference(name, what, size, scale, allowed))
        return max(found, key=lambda each: each.size / each.allowed, default=None)


def _refuse_outputs(name: str, outputs: object) -> None:
    if not isinstance(outputs, torch.Tensor):
        raise InputError(
            f"model '{name}' gives a {type(outputs).__name__} for a batch while it trains; it has "
            "to give one tensor of shape (batch, classes) in training mode, too (networks with "
            "auxiliary heads can usually be made without: aux_logits=false)"
        )
