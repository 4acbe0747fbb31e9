"""PyTorch's optimisers as functions of named tensors."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.optim.adam import adam
from torch.optim.adamw import adamw
from torch.optim.sgd import sgd

from fedlab.clients.spec import OptimizerSpec
from fedlab.records import Tensors

OptimizerState = dict[str, Tensors]
"""Slot name (``momentum``, ``mean``, ``square``, ``step``) -> one tensor for each parameter."""


@dataclass(frozen=True)
class Optimizer:
    """An optimiser without hidden state: `start` makes its slots, `apply` steps in place.

    The update rules act element by element, so they work on a single client's tensors and on the
    stacked tensors of many clients alike; `clip` needs one client's tensors.
    """

    spec: OptimizerSpec

    def learning_rate(self, server_round: int) -> float:
        """The learning rate in a round (from 1)."""
        return self.spec.lr * self.spec.lr_decay ** (server_round - 1)

    def start(self, parameters: Tensors) -> OptimizerState:
        """Fresh slots for `parameters`."""
        if self.spec.name == "sgd":
            slots = ["momentum"] if self.spec.momentum else []
        else:
            slots = ["mean", "square"]
        state = {slot: {n: torch.zeros_like(p) for n, p in parameters.items()} for slot in slots}
        if self.spec.name != "sgd":
            state["step"] = {n: torch.zeros((), device=p.device) for n, p in parameters.items()}
        return state

    def clip(self, gradients: Tensors) -> Tensors:
        """One client's gradients, scaled down where their norm exceeds the scenario's limit."""
        if self.spec.clip_norm is None:
            return gradients
        squares = [slope.square().sum() for slope in gradients.values()]
        norm = torch.stack(squares).sum().sqrt()
        scale = (self.spec.clip_norm / (norm + 1e-6)).clamp(max=1.0)
        return {name: slope * scale for name, slope in gradients.items()}

    @torch.no_grad()
    def apply(
        self, parameters: Tensors, gradients: Tensors, state: OptimizerState, lr: float
    ) -> None:
        """One step, in place on `parameters` and `state`."""
        values = list(parameters.values())
        slopes = [gradients[name] for name in parameters]
        if self.spec.name == "sgd":
            buffers = list(state["momentum"].values()) if self.spec.momentum else []
            sgd(
                values,
                slopes,
                buffers or [None] * len(values),  # type: ignore[arg-type]
                foreach=True,
                weight_decay=self.spec.weight_decay,
                momentum=self.spec.momentum,
                lr=lr,
                dampening=0.0,
                nesterov=self.spec.nesterov,
                maximize=False,
            )
            return
        rule = adam if self.spec.name == "adam" else adamw
        rule(
            values,
            slopes,
            list(state["mean"].values()),
            list(state["square"].values()),
            [],
            list(state["step"].values()),
            foreach=True,
            amsgrad=False,
            beta1=self.spec.betas[0],
            beta2=self.spec.betas[1],
            lr=lr,
            weight_decay=self.spec.weight_decay,
            eps=1e-8,
            maximize=False,
        )
