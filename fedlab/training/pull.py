"""Quadratic and linear terms of an objective, whose gradients are known in closed form.

Proximal terms, dynamic regularisers and drift corrections are ω/2 ‖θ - c‖² + ⟨s, θ⟩ of all
parameters θ. Differentiated by autograd they take several operations for each tensor of the
network, which on an accelerator is more than the network itself; their gradient ω (θ - c) + s takes
four for all tensors together (see `fedlab.training.lists`).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from fedlab.records import Tensors
from fedlab.training import lists
from fedlab.training.gradients import with_zeros


@dataclass(frozen=True)
class Pull:
    """The terms ω/2 ‖θ - c‖² + ⟨s, θ⟩.

    Attributes:
        weight: ω, a number or a scalar tensor.
        centre: c, for every parameter.
        slope: s, for every parameter; None for zeros.
    """

    weight: Tensor | float
    centre: Tensors
    slope: Tensors | None = None

    def join(
        self, gradients: Tensors, value: Tensor, at: Tensors, trained: Tensors
    ) -> tuple[Tensors, Tensor]:
        """Gradients and value of an objective with these terms added.

        Args:
            gradients: Those of the objective, for some of `trained`.
            value: Its value, a scalar.
            at: θ, all parameters.
            trained: Those of them that have a gradient.
        """
        moved = lists.less(at, self.centre)
        force = lists.times({name: moved[name] for name in trained}, self.weight)
        if self.slope is not None:
            force = lists.added(force, self.slope)
            value = value + lists.dot(at, self.slope)
        value = value + self.weight / 2 * lists.square_sum(moved)
        return lists.added(with_zeros(gradients, trained), force), value
