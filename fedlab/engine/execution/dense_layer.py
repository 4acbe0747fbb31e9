"""Dense layers of many clients with weights of their own, one behind the other."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fedlab.federation.float64 import sum_of_stack
from fedlab.records import Tensors
from fedlab.training.optimizer import Optimizer


class DenseLayer:
    """A dense layer of many clients with weights of their own.

    Args:
        weight: What each of them starts from, shape (outputs, inputs).
        bias: Shape (outputs,), or None.
        clients: Number of clients.
        optimizer: Without clipping.
        steps: How many the clients take; where they take none, all of them have what they started
            from, in the same memory.

    Attributes:
        probes: What to differentiate by after `outputs`.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        clients: int,
        optimizer: Optimizer,
        steps: int,
    ) -> None:
        given = {"weight": weight} if bias is None else {"weight": weight, "bias": bias}
        same = {name: tensor.expand(clients, *tensor.shape) for name, tensor in given.items()}
        self.tensors = {n: t.clone() for n, t in same.items()} if steps else same
        self.optimizer = optimizer
        self.state = optimizer.start(self.tensors)
        self.probes: list[Tensor] = []

    def outputs(self, inputs: Tensor) -> Tensor:
        """Outputs of the first clients, (clients, batch, inputs) -> (clients, batch, outputs)."""
        parts = _first(self.tensors, len(inputs))
        self.probes = [part.requires_grad_() for part in parts.values()]
        weight = parts["weight"].transpose(1, 2)
        if "bias" in parts:
            return torch.baddbmm(parts["bias"].unsqueeze(1), inputs, weight)
        return torch.bmm(inputs, weight)

    def learn(self, grads: Sequence[Tensor], lr: float) -> None:
        """One step, with the gradients by `probes`."""
        clients = len(grads[0])
        state = {
            slot: tensors if slot == "steps" else _first(tensors, clients)
            for slot, tensors in self.state.items()
        }
        gradients = dict(zip(self.tensors, grads, strict=True))
        self.optimizer.apply(_first(self.tensors, clients), gradients, state, lr)

    def weights(self) -> Tensor:
        """Shape (clients, outputs, inputs)."""
        return self.tensors["weight"]

    def biases(self) -> Tensor | None:
        """Shape (clients, outputs), or None."""
        return self.tensors.get("bias")

    def sums(self, weights: Sequence[float]) -> tuple[Tensor, Tensor | None]:
        """Weights and biases of all clients, weighted and added up in double precision."""
        weight, bias = self.weights(), self.biases()
        return sum_of_stack(weight, weights), None if bias is None else sum_of_stack(bias, weights)


def _first(tensors: Tensors, clients: int) -> Tensors:
    """The part of the first clients, detached, in the same memory."""
    return {name: tensor[:clients].detach() for name, tensor in tensors.items()}
