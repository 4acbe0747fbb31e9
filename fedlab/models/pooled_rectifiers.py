"""Rectifiers that are taken after the pooling that follows them.

The maximum of rectified values is the rectified maximum, and gradients go the same way: where a
window's maximum is positive, to the first place that has it, and nowhere else. A rectifier then
reads and writes a quarter of the values (for windows of 2 x 2), and its backward pass as well.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from itertools import pairwise

from torch import Tensor, nn

from fedlab.models.dense_chain import has_hooks

POOLING = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)

Pass = Callable[[Tensor], Tensor]


@contextmanager
def rectifiers_after_pooling(model: nn.Module) -> Generator[None]:
    """Within the context, ``Sequential`` blocks pool first where a rectifier comes before pooling.

    The outputs and the gradients are the same to the bit. Blocks are left alone whose forward pass
    is not that of `torch.nn.Sequential`, and layers with hooks, which could tell the order.

    Args:
        model: The network.
    """
    changed = []
    for block in model.modules():
        if isinstance(block, nn.Sequential) and type(block).forward is nn.Sequential.forward:
            layers = list(block)
            if (order := _pooled_first(layers)) != layers:
                block.forward = partial(_in_turn, order)  # type: ignore[method-assign]
                changed.append(block)
    try:
        yield
    finally:
        for block in changed:
            del block.forward


def _pooled_first(layers: list[nn.Module]) -> list[nn.Module]:
    """Layers of a block, with each rectifier behind the pooling that follows it."""
    order = list(layers)
    for place, (first, second) in enumerate(pairwise(layers)):
        if type(first) is nn.ReLU and type(second) in POOLING and not _may_tell(first, second):
            order[place : place + 2] = second, first
    return order


def _may_tell(rectifier: nn.Module, pooling: nn.Module) -> bool:
    """Whether something reads more of two layers than the outputs of the second."""
    return bool(pooling.return_indices) or has_hooks(rectifier) or has_hooks(pooling)


def _in_turn(layers: list[nn.Module], inputs: Tensor) -> Tensor:
    for layer in layers:
        inputs = layer(inputs)
    return inputs
