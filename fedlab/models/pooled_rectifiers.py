"""Rectifiers that are taken after the pooling that follows them.

The maximum of rectified values is the rectified maximum, and gradients go the same way: where a
window's maximum is positive, to the first place that has it, and nowhere else. A rectifier then
reads and writes a quarter of the values (for windows of 2 x 2), and its backward pass as well.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from typing import Any

from torch import nn

from fedlab.models.memory_format import reorder_gradient

POOLING = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)


@contextmanager
def rectifiers_after_pooling(model: nn.Module) -> Generator[None]:
    """Within the context, ``Sequential`` blocks pool first where a rectifier comes before pooling.

    The outputs and the gradients are the same to the bit. Only where nothing else can tell the
    order, as it is found in each pass: the forward passes of the block and of both layers are
    PyTorch's, neither layer has a hook, the rectifier does not write to its input, and no window of
    the pooling lies in its padding alone.

    Args:
        model: The network.
    """
    changed = [block for block in model.modules() if _pools(block)]
    for block in changed:
        block.forward = partial(_in_turn, block)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for block in changed:
            vars(block).pop("forward", None)


def _pools(block: nn.Module) -> bool:
    """Whether a module is a plain block with pooling among its layers."""
    return _is_plain(block, nn.Sequential) and any(
        type(each) in POOLING for each in block.children()
    )


def _in_turn(block: nn.Module, inputs: Any) -> Any:
    layers: list[nn.Module] = list(block)  # type: ignore[call-overload]
    places = {place for place, pair in enumerate(pairwise(layers)) if _may_swap(*pair)}
    for place in places:
        layers[place], layers[place + 1] = layers[place + 1], layers[place]
    for layer in layers:
        inputs = layer(inputs)
    return inputs


def _may_swap(rectifier: nn.Module, pooling: nn.Module) -> bool:
    """Whether two layers are a rectifier and pooling, and nothing reads what is between them."""
    return (
        type(rectifier) is nn.ReLU
        and type(pooling) in POOLING
        and _is_plain(rectifier, nn.ReLU)
        and _is_plain(pooling, type(pooling))
        and not rectifier.inplace
        and not pooling.return_indices
        and (_all(pooling.dilation, 1) or _all(pooling.padding, 0))
        and not (_hooks(rectifier) or _hooks(pooling))
    )


def _is_plain(module: nn.Module, kind: type[nn.Module]) -> bool:
    """Whether a module of a kind has this kind's forward pass and no other."""
    plainly = isinstance(module, kind) and type(module).forward is kind.forward
    return plainly and "forward" not in vars(module)


def _all(sizes: Any, size: int) -> bool:
    return all(each == size for each in (sizes if isinstance(sizes, tuple) else (sizes,)))


def _hooks(module: nn.Module) -> bool:
    """Whether a module has hooks, but for the one that keeps its gradients' memory format."""
    every = (
        *module._forward_pre_hooks.values(),
        *module._forward_hooks.values(),
        *module._backward_pre_hooks.values(),
        *module._backward_hooks.values(),
    )
    return any(hook is not reorder_gradient for hook in every)
