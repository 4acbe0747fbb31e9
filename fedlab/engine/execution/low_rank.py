"""Dense layers in low-rank form: they learn without forming their weights.

SGD changes the weights of a dense layer by sums of outer products: after some steps they are

    W = k W_0 + Aᵀ X        X: inputs the layer has seen, A: one coefficient vector for each of them

with k = 1 without weight decay. The outputs for new inputs Z are k Z W_0ᵀ + (Z Xᵀ) A: a product
with W_0, which all clients share, and two small ones. The bias is an additional input of value 1.
SGD with momentum and weight decay is linear in the gradients it has seen, so the optimiser can step
on k and A as it would step on W, and the result is exact up to rounding. It is faster if the layer
sees fewer inputs than it is wide, as weights are neither copied for each client nor written in each
step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fedlab.accelerator import exact
from fedlab.federation.low_rank_sum import LowRankSum
from fedlab.records import Tensors
from fedlab.training.optimizer import Optimizer, OptimizerState


class Factors:
    """k, A and X of one layer for a stack of clients that started from the same weights.

    Args:
        weight: W_0, shape (outputs, inputs).
        bias: Initial bias, shape (outputs,), or None.
        rows: X, shape (clients, rows, inputs); rows that were not seen yet may be any finite
            numbers.
        optimizer: Optimiser of A and k; SGD without clipping.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor | None, rows: Tensor, optimizer: Optimizer
    ) -> None:
        clients, count, _ = rows.shape
        self.weight, self.bias, self.rows, self.optimizer = weight, bias, rows, optimizer
        self.coefficients = rows.new_zeros(clients, count, len(weight))
        self.keep = rows.new_ones(clients, 1, 1)
        spec = optimizer.spec
        self.decays = spec.weight_decay > 0
        self.plain = not (spec.weight_decay or spec.momentum)
        tensors = {"coefficients": self.coefficients, "keep": self.keep}
        self.state: OptimizerState = optimizer.start(tensors)

    def kept(self, outputs: Tensor) -> Tensor:
        """Outputs of W_0, shape (clients, batch, outputs), or their gradients, times k."""
        return outputs * self.keep[: len(outputs)] if self.decays else outputs

    def descend(self, grads: Tensor, lr: float) -> None:
        """One step of the first clients.

        Args:
            grads: Gradients by the outputs of the first rows, shape (clients, rows, outputs).
            lr: The learning rate.
        """
        clients, count, _ = grads.shape

        def part(of: Tensors) -> Tensors:
            return {
                "coefficients": of["coefficients"][:clients, :count],
                "keep": of["keep"][:clients],
            }

        parts = part({"coefficients": self.coefficients, "keep": self.keep})
        gradients = {"coefficients": grads, "keep": torch.zeros_like(parts["keep"])}
        state = {slot: part(of) for slot, of in self.state.items()}
        self.optimizer.apply(parts, gradients, state, lr)

    def weights(self) -> Tensor:
        """W of every client, shape (clients, outputs, inputs)."""
        start = self.keep * self.weight if self.decays else self.weight
        return torch.baddbmm(start, self.coefficients.transpose(1, 2), self.rows)

    def biases(self) -> Tensor | None:
        """The bias of every client, shape (clients, outputs)."""
        if self.bias is None:
            return None
        return self.keep[:, 0] * self.bias + self.coefficients.sum(dim=1)

    def unformed(self) -> LowRankSum:
        """W of a single client in low-rank form."""
        keep = float(self.keep) if self.decays else 1.0  # without asking the device
        return LowRankSum(self.weight, keep, [(self.coefficients[0], self.rows[0])])

    def sums(self, weights: Sequence[float]) -> tuple[Tensor, Tensor | None]:
        """Weighted sums of W and bias over all clients, without forming single clients' W."""
        weight = torch.tensor(weights, dtype=torch.float64)
        each = weight.to(self.rows.dtype).view(-1, 1, 1).to(self.rows.device)
        scaled = (self.coefficients * each).flatten(0, 1)
        keep = self.keep.flatten().cpu().double() if self.decays else torch.ones_like(weight)
        kept = weight.dot(keep)
        total = LowRankSum(self.weight, float(kept), [(scaled, self.rows.flatten(0, 1))]).formed()
        if self.bias is None:
            return total, None
        return total, exact(self.bias).double() * kept + exact(scaled).sum(0, dtype=torch.float64)


def places(rows: Tensor, samples: int) -> Tensor:
    """Places of each client's rows among all clients' samples, to read and add whole rows.

    Args:
        rows: Indices into each client's samples, int64 of shape (clients, batch).
        samples: Number of every client's samples, with those that pad.

    Returns:
        int64 of shape (clients * batch,).
    """
    starts = torch.arange(len(rows), device=rows.device) * samples
    return (starts.unsqueeze(1) + rows).flatten()


class FirstLayer:
    """A layer whose inputs are the samples; all products with them are computed before step 1.

    The number of rows is the number of samples, for any number of passes.

    Args:
        weight: W_0, shape (outputs, inputs).
        bias: Shape (outputs,), or None.
        samples: Inputs of the layer for all samples of each client, shape (clients, n, inputs).
        optimizer: SGD without clipping.

    Attributes:
        probes: The tensors to differentiate by after `outputs`.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor | None, samples: Tensor, optimizer: Optimizer
    ) -> None:
        self.factors = Factors(weight, bias, samples, optimizer)
        self.at_start = nn.functional.linear(samples, weight, bias)
        self.gram = torch.bmm(samples, samples.transpose(1, 2))
        if bias is not None:
            self.gram += 1
        self.probes: list[Tensor] = []
        self._places = self.gram.new_empty(0, dtype=torch.int64)

    def outputs(self, rows: Tensor) -> Tensor:
        """Outputs for samples of the first clients.

        Args:
            rows: Indices into each client's samples, int64 of shape (clients, batch).

        Returns:
            Shape (clients, batch, outputs).
        """
        self._places = places(rows, self.gram.shape[1])
        at_start = self.factors.kept(self._read(self.at_start).unflatten(0, rows.shape))
        gram = self._read(self.gram).unflatten(0, rows.shape)
        outputs = torch.baddbmm(at_start, gram, self.factors.coefficients[: len(rows)])
        self.probes = [outputs.requires_grad_()]
        return outputs

    def learn(self, grads: Sequence[Tensor], lr: float) -> None:
        """One step, with the gradients by `probes`."""
        factors, (grad,) = self.factors, grads
        coefficients = factors.coefficients[: len(grad)]
        if factors.plain:
            self._add(coefficients, grad * -lr)
        else:
            factors.descend(self._add(torch.zeros_like(coefficients), grad), lr)

    def _read(self, of: Tensor) -> Tensor:
        """What a tensor of shape (clients, n, ...) has for the samples of the step."""
        return of.flatten(0, 1).index_select(0, self._places)

    def _add(self, to: Tensor, grad: Tensor) -> Tensor:
        """Adds to what a tensor has for them, in place."""
        to.view(-1, to.shape[-1]).index_add_(0, self._places, grad.flatten(0, 1))
        return to

    def weights(self) -> Tensor:
        """W of every client, shape (clients, outputs, inputs)."""
        return self.factors.weights()

    def biases(self) -> Tensor | None:
        """The bias of every client, shape (clients, outputs), or None."""
        return self.factors.biases()

    def sums(self, weights: Sequence[float]) -> tuple[Tensor, Tensor | None]:
        """Weights and biases of all clients, weighted and added up in double precision."""
        return self.factors.sums(weights)


class _Product(torch.autograd.Function):
    """Z -> k (Z W_0ᵀ + b_0) + (Z Xᵀ + 1) A, with the fastest order of products.

    For few rows, the order determines whether W_0 is read contiguously; autograd would also
    allocate a tensor for every term.
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, inputs: Tensor, factors: Factors, rows: Tensor, past: Tensor
    ) -> Tensor:
        """(clients, batch, inputs) -> (clients, batch, outputs)."""
        ctx.factors, ctx.rows, ctx.past = factors, rows, past
        flat = inputs.flatten(0, 1)
        outputs = (factors.weight @ flat.t()).t()
        if factors.bias is not None:
            outputs.add_(factors.bias)
        outputs = factors.kept(outputs.view(*inputs.shape[:2], -1))
        if past.shape[1]:
            gram = torch.bmm(rows, inputs.transpose(1, 2))
            if factors.bias is not None:
                gram.add_(1)
            outputs.baddbmm_(gram.transpose(1, 2), past)
        return outputs.contiguous()  # so that dropout draws in the order of a usual layer's memory

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Gradient by the inputs; X and A are constants."""
        if not ctx.needs_input_grad[0]:
            return None, None, None, None
        grad, factors = grads[0], ctx.factors
        flat = grad.flatten(0, 1) @ factors.weight
        back = factors.kept(flat.view(*grad.shape[:2], -1))
        if ctx.past.shape[1]:
            back.baddbmm_(torch.bmm(grad, ctx.past.transpose(1, 2)), ctx.rows)
        return back, None, None, None


class LaterLayer:
    """A layer whose inputs are another layer's outputs: every step adds rows.

    Args:
        weight: W_0, shape (outputs, inputs).
        bias: Shape (outputs,), or None.
        clients: Number of clients.
        rows: Number of inputs of each client in all steps together.
        optimizer: SGD without clipping.

    Attributes:
        probes: The tensors to differentiate by after `outputs`.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        clients: int,
        rows: int,
        optimizer: Optimizer,
    ) -> None:
        seen = weight.new_zeros(clients, rows, weight.shape[1])
        self.factors = Factors(weight, bias, seen, optimizer)
        self.taken = 0
        self.probes: list[Tensor] = []
        self._inputs = seen[:, :0]

    def outputs(self, inputs: Tensor) -> Tensor:
        """Outputs of the first clients, (clients, batch, inputs) -> (clients, batch, outputs)."""
        factors, clients = self.factors, len(inputs)
        past = slice(self.taken)
        outputs = _Product.apply(
            inputs,
            factors,
            factors.rows[:clients, past],
            factors.coefficients[:clients, past],
        )
        if not outputs.requires_grad:  # no tensor before this layer needs a gradient
            outputs.requires_grad_()
        self._inputs = inputs.detach()
        self.probes = [outputs]
        return outputs

    def learn(self, grads: Sequence[Tensor], lr: float) -> None:
        """One step, with the gradients by `probes`."""
        factors, (grad,) = self.factors, grads
        clients, batch, _ = grad.shape
        new = slice(self.taken, self.taken + batch)
        factors.rows[:clients, new] = self._inputs
        if factors.plain:
            torch.mul(grad, -lr, out=factors.coefficients[:clients, new])
        else:
            every = grad.new_zeros(clients, new.stop, grad.shape[-1])
            every[:, new] = grad
            factors.descend(every, lr)
        self.taken = new.stop

    def weights(self) -> Tensor:
        """W of every client, shape (clients, outputs, inputs)."""
        return self.factors.weights()

    def biases(self) -> Tensor | None:
        """The bias of every client, shape (clients, outputs), or None."""
        return self.factors.biases()

    def sums(self, weights: Sequence[float]) -> tuple[Tensor, Tensor | None]:
        """Weights and biases of all clients, weighted and added up in double precision."""
        return self.factors.sums(weights)
