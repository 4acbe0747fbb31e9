"""Captures the inputs of a module within a network, by a forward hook.

That works for any network, also under `torch.func.functional_call` and `torch.func.vmap`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TypeVar

from torch import Tensor, nn

T = TypeVar("T")


@contextmanager
def captured_inputs(module: nn.Module, read: Callable[[Tensor], T]) -> Generator[list[T]]:
    """Records a module's first input in every forward pass within the context.

    Args:
        module: The module.
        read: A function of this input; its value is recorded.

    Yields:
        One value for each pass, in order.
    """
    captured: list[T] = []
    handle = module.register_forward_pre_hook(lambda _, inputs: captured.append(read(inputs[0])))
    try:
        yield captured
    finally:
        handle.remove()
