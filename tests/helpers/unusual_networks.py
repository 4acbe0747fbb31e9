"""Networks with unusual tensors, arguments and side effects."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from helpers.odd_networks import Plain


class InfiniteMask(Plain):
    """A persistent buffer of which some entries are minus infinity."""

    def change(self) -> None:
        self.register_buffer("mask", torch.zeros(12).index_fill(0, torch.tensor([3]), -math.inf))

    def middle(self, hidden: Tensor) -> Tensor:
        return super().middle((hidden + self.mask).softmax(1))


class Rotating(Plain):
    """A complex buffer."""

    def change(self) -> None:
        self.register_buffer("phase", torch.polar(torch.ones(6), torch.arange(6.0)))

    def middle(self, hidden: Tensor) -> Tensor:
        turned = torch.view_as_complex(hidden.reshape(-1, 6, 2)) * self.phase
        return super().middle(torch.view_as_real(turned).flatten(1))


class Differentiating(Plain):
    """Takes a gradient within its forward pass."""

    def middle(self, hidden: Tensor) -> Tensor:
        with torch.enable_grad():
            at = hidden if hidden.requires_grad else hidden.detach().requires_grad_()
            (force,) = torch.autograd.grad(self.m(at).square().sum(), at, create_graph=True)
        return super().middle(hidden - 0.01 * force)


class Bounded(Plain):
    """Vectors with a largest norm: looking one up writes to the table."""

    def change(self) -> None:
        self.table = nn.Embedding(16, 12, max_norm=0.5)

    def body(self, x: Tensor) -> Tensor:
        row = (4 * x.flatten(1).mean(1) + 8).long().clamp(0, 15)
        return super().body(x) + self.table(row)


class CountingTests(Plain):
    """Its outputs depend on the number of earlier tests."""

    def change(self) -> None:
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            self.seen += 1
        return super().forward(x) / (1 + self.seen)


class Squeezing(Plain):
    """Drops the dimension of a batch of one, too."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).squeeze()


class Unset(Plain):
    """A parameter without values."""

    def change(self) -> None:
        self.spare = nn.Parameter(torch.full((3,), math.nan))


class SparseTable(Plain):
    """Sparse gradients."""

    def change(self) -> None:
        self.table = nn.Embedding(4, 12, sparse=True)


class OtherEachTime(Plain):
    """Initial values of a generator that the system seeds."""

    def change(self) -> None:
        values = np.random.default_rng().normal(size=(12, 12))
        self.m.weight.data = torch.tensor(values, dtype=torch.float32)


class Activated(Plain):
    """An argument whose default is a class."""

    def __init__(
        self,
        input_shape: tuple[int, ...],
        num_classes: int,
        activation: Callable[[], nn.Module] = nn.Tanh,
    ) -> None:
        super().__init__(input_shape, num_classes)
        self.activation = activation()

    def middle(self, hidden: Tensor) -> Tensor:
        return self.activation(self.m(hidden))
