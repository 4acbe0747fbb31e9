"""Optimisers as functions of named tensors, for one client or for stacked clients.

The update rules are those of `torch.optim`: a parameter without a gradient is skipped, and each
parameter has its own step count. The functional forms of `torch.optim` are not used, as they take
one step count for all tensors, and stacked clients may have taken different numbers of steps.
"""

# `torch.optim` uses the same foreach operations, which PyTorch does not export by name.
# pyright: reportPrivateImportUsage=false

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fedlab.accelerator import has_float64
from fedlab.constants import constant
from fedlab.records import Tensors
from fedlab.training import lists
from fedlab.training.snapshots import Snapshot
from fedlab.training.spec import OptimizerSpec

OptimizerState = dict[str, Tensors]
"""Slot name -> tensors: ``momentum``, or ``mean`` and ``square``, with one for each parameter, and
``steps`` with the numbers of steps that each of them has taken under ``taken``."""

EPS = 1e-8
"""Adam's ε, added to the root of the mean square."""


@dataclass(frozen=True)
class Optimizer:
    """A stateless optimiser: `start` creates its slots, `apply` steps in place.

    The update rules act element by element, so they work on one client's tensors and on the
    stacked tensors of many clients; `clip` needs one client's tensors.
    """

    spec: OptimizerSpec

    def learning_rate(self, server_round: int) -> float:
        """The learning rate in a round (from 1)."""
        return self.spec.lr * self.spec.lr_decay ** (server_round - 1)

    def start(self, parameters: Tensors) -> OptimizerState:
        """Initial slots for `parameters`."""
        if self.spec.name == "sgd":
            slots = ["momentum"] if self.spec.momentum else []
        else:
            slots = ["mean", "square"]
        state = {slot: {n: torch.zeros_like(p) for n, p in parameters.items()} for slot in slots}
        if self.spec.name != "sgd":
            device = next((value.device for value in parameters.values()), None)
            # In float64, as 1 - 0.999**n loses digits in float32; see `_faded` for where it lacks.
            exact = device is None or has_float64(device.type)
            dtype = torch.float64 if exact else torch.float32
            taken = torch.zeros(len(parameters), dtype=dtype, device=device)
            state["steps"] = {"taken": taken}
        return state

    def clip(self, gradients: Tensors) -> Tensors:
        """One client's gradients, scaled down where their norm exceeds the scenario's limit."""
        if self.spec.clip_norm is None or not gradients:
            return gradients
        scale = (self.spec.clip_norm / (lists.norm(gradients) + 1e-6)).clamp(max=1.0)
        return lists.times(gradients, scale)

    @torch.no_grad()
    def apply(
        self,
        parameters: Tensors,
        gradients: Tensors,
        state: OptimizerState,
        lr: float,
        taken: Tensor | None = None,
    ) -> None:
        """One step, in place on `parameters`, all or some of those started with, and `state`.

        Args:
            parameters: The tensors to update.
            gradients: Their gradients by the same names; a parameter without one, and its slots,
                stay as they are.
            state: The slots.
            lr: The learning rate.
            taken: Whether to take the step: a bool, or one for each stacked client. Where False,
                parameters and slots stay as they are. None is True.
        """
        parameters = {name: value for name, value in parameters.items() if name in gradients}
        if not parameters:
            return
        if taken is not None:
            slots = [tensor for tensors in state.values() for tensor in tensors.values()]
            before = Snapshot([*slots, *parameters.values()], stacked=taken.dim() > 0)
            self.apply(parameters, gradients, state, lr)
            before.put_back(taken)
            return
        values = list(parameters.values())
        grads = [gradients[name] for name in parameters]
        slots = {
            slot: [tensors[name] for name in parameters]
            for slot, tensors in state.items()
            if slot != "steps"
        }
        if self.spec.name == "sgd":
            self._sgd(values, grads, slots, lr)
        else:
            some: tuple[int, ...] = ()
            if len(parameters) < len(state["mean"]):
                numbered = {name: number for number, name in enumerate(state["mean"])}
                some = tuple(numbered[name] for name in parameters)
            self._adam(values, grads, slots, state["steps"]["taken"], some, lr)

    def _sgd(
        self, values: list[Tensor], grads: list[Tensor], slots: dict[str, list[Tensor]], lr: float
    ) -> None:
        if self.spec.weight_decay:
            grads = _sum(grads, values, self.spec.weight_decay)
        if self.spec.momentum:
            velocity = slots["momentum"]
            torch._foreach_mul_(velocity, self.spec.momentum)
            torch._foreach_add_(velocity, grads)
            nesterov = self.spec.nesterov
            grads = _sum(grads, velocity, self.spec.momentum) if nesterov else velocity
        torch._foreach_add_(values, grads, alpha=-lr)

    def _adam(
        self,
        values: list[Tensor],
        grads: list[Tensor],
        slots: dict[str, list[Tensor]],
        taken: Tensor,
        some: tuple[int, ...],
        lr: float,
    ) -> None:
        """Adam's rule for all parameters, or for those with the indices `some` in `taken`."""
        if self.spec.weight_decay and self.spec.name == "adamw":
            torch._foreach_mul_(values, 1 - lr * self.spec.weight_decay)
        elif self.spec.weight_decay:
            grads = _sum(grads, values, self.spec.weight_decay)
        mean, square = slots["mean"], slots["square"]
        fade_mean, fade_square = self.spec.betas
        torch._foreach_lerp_(mean, grads, 1 - fade_mean)
        torch._foreach_mul_(square, fade_square)
        torch._foreach_addcmul_(square, grads, grads, 1 - fade_square)
        if some:
            places = constant(some, torch.int64, taken.device)  # a list would be copied every time
            taken[..., places] += 1
            taken = taken[..., places]
        else:
            taken.add_(1)
        rates = (lr / _faded(fade_mean, taken)).unbind(-1)
        roots = _faded(fade_square, taken).sqrt().unbind(-1)
        scale = torch._foreach_sqrt(square)
        torch._foreach_div_(scale, _all_beside(roots, values))
        torch._foreach_add_(scale, EPS)
        step = torch._foreach_div(mean, scale)
        torch._foreach_mul_(step, _all_beside(rates, values))
        torch._foreach_sub_(values, step)


def _faded(fade: float, taken: Tensor) -> Tensor:
    """1 - fade**taken, with as many digits in float32."""
    if taken.dtype == torch.float64 or not fade:
        return 1 - fade**taken
    return -torch.expm1(math.log(fade) * taken)


def _sum(terms: list[Tensor], others: list[Tensor], factor: float) -> list[Tensor]:
    return list(torch._foreach_add(terms, others, alpha=factor))


def _all_beside(numbers: Sequence[Tensor], values: list[Tensor]) -> list[Tensor]:
    pairs = zip(numbers, values, strict=True)
    return [_beside(each, value).to(value.dtype) for each, value in pairs]


def _beside(numbers: Tensor, value: Tensor) -> Tensor:
    """One number, or one for each stacked client, reshaped to broadcast with `value`."""
    return numbers.view(numbers.shape + (1,) * (value.dim() - numbers.dim()))
