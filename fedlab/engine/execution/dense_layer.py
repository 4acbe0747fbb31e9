"""A dense layer with stacked weights, one set for each client."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fedlab.federation.float64 import sum_of_stack
from fedlab.records import Tensors
from fedlab.training.optimizer import Optimizer


class DenseLayer:
    """A dense layer with stacked weights, one set for each client.

    Args:
        weight: Initial weight of all clients, shape (outputs, inputs).
        bias: Initial bias, shape (outputs,), or None.
        clients: Number of clients.
        optimizer: The optimiser, without clipping.
        steps: Number of steps; with 0, the initial values are not copied.

    Attributes:
        probes: The tensors to differentiate by after `outputs`.
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
        """Weighted sums of all clients' weights and biases, in float64."""
        weight, bias = self.weights(), self.biases()
        return sum_of_stack(weight, weights), None if bias is None else sum_of_stack(bias, weights)


def _first(tensors: Tensors, clients: int) -> Tensors:
    """Detached views of the first clients' part."""
    return {name: tensor[:clients].detach() for name, tensor in tensors.items()}
