"""Label-shift adapter: a small network that turns a class prior into a change of the last layer.

After: Label Shift Adapter for Test-Time Adaptation under Covariate and Label Shifts, Park, Yang,
Choo, Yun, ICCV 2023, arXiv 2308.08810. Its equations and its code were not seen, only its abstract
and descriptions by others. They have: the trained network stays as it is; the adapter gives a scale
γ and a shift β of the features before the last dense layer, and changes ΔW and Δb of that layer; it
is trained on source samples with sampled priors; in use, a moving average of predictions feeds it,
together with other test-time adaptation. There, the adapter reads the prior as one number, a degree
of imbalance.

Not known from the paper, and chosen here: the loss (`fedlab.adaptation.adapter_training`), what the
adapter reads (log(π / p) for each class), its size, how priors are drawn, and the rate of the
moving average.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.nn.functional import linear


class HeadChange(NamedTuple):
    """A change of the last dense layer with weights W and biases b.

    Attributes:
        scale: γ, shape (features,).
        shift: β, shape (features,).
        weight: ΔW, shape (classes, features).
        bias: Δb, shape (classes,).
    """

    scale: Tensor
    shift: Tensor
    weight: Tensor
    bias: Tensor

    def outputs(self, weight: Tensor, bias: Tensor, features: Tensor) -> Tensor:
        """(W + ΔW) (γ ⊙ h + β) + b + Δb, shape (n, classes).

        Args:
            weight: W, shape (classes, features).
            bias: b, shape (classes,).
            features: h, shape (n, features).
        """
        return linear(self.scale * features + self.shift, weight + self.weight, bias + self.bias)

    def folded(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Weights and biases of a dense layer that gives the same outputs."""
        whole = weight + self.weight
        return whole * self.scale, bias + self.bias + whole @ self.shift


class LabelShiftAdapter(nn.Module):
    """log(π / p) -> a hidden layer -> γ - 1, β, D ΔW and Δb, with D features.

    The last layer is 0 at first, so that an adapter that has not learnt changes nothing. ΔW is
    divided by D, so that a step of Adam on all of it moves outputs about as far as one on Δb.

    Args:
        classes: Number of classes.
        features: Number of features.
        hidden: Size of the hidden layer.
    """

    def __init__(self, classes: int, features: int, hidden: int) -> None:
        super().__init__()
        self.classes, self.features = classes, features
        self.hidden = nn.Linear(classes, hidden)
        self.change = nn.Linear(hidden, 2 * features + classes * features + classes)
        nn.init.zeros_(self.change.weight)
        nn.init.zeros_(self.change.bias)

    def forward(self, ratios: Tensor) -> HeadChange:
        """The change of the last layer for a prior, or for each of several.

        Args:
            ratios: log(π / p), shape (..., classes), with the prior π and the source's prior p.
        """
        classes, features = self.classes, self.features
        sizes = (features, features, classes * features, classes)
        found = self.change(self.hidden(ratios).relu())
        scale, shift, weight, bias = found.split(sizes, dim=-1)
        weight = weight.unflatten(-1, (classes, features)) / features
        return HeadChange(1 + scale, shift, weight, bias)


@contextmanager
def changed_layer(layer: nn.Linear) -> Generator[list[HeadChange]]:
    """Within the context, a dense layer has the outputs of a change of it.

    Args:
        layer: The layer, with biases. It may have other tensors within the context than now.

    Yields:
        A list whose last change holds from then on; as long as it is empty, there is none.
    """
    changes: list[HeadChange] = []

    def hook(module: nn.Module, inputs: tuple[Tensor, ...], outputs: Any) -> Any:
        assert isinstance(module, nn.Linear)
        if not changes:
            return outputs
        return changes[-1].outputs(module.weight, module.bias, inputs[0])

    handle = layer.register_forward_hook(hook)
    try:
        yield changes
    finally:
        handle.remove()
