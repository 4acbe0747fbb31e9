"""Captures inputs or outputs of a module within a network, or changes them, by a forward hook.

That works for any network, also under `torch.func.functional_call` and `torch.func.vmap`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, TypeVar

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


@contextmanager
def captured_outputs(module: nn.Module) -> Generator[list[Tensor]]:
    """Records a module's output in every forward pass within the context, in order."""
    captured: list[Tensor] = []

    def listen(_: nn.Module, __: Any, outputs: Tensor) -> None:
        captured.append(outputs)

    handle = module.register_forward_hook(listen)
    try:
        yield captured
    finally:
        handle.remove()


@contextmanager
def changed_outputs(module: nn.Module, change: Callable[[Tensor], Tensor]) -> Generator[None]:
    """Within the context, a module's outputs are ``change(outputs)`` in every forward pass.

    The hook is gone when a backward pass runs parts of the network again (``Task.holds``).
    """

    def changed(_: nn.Module, __: Any, outputs: Tensor) -> Tensor:
        return change(outputs)

    handle = module.register_forward_hook(changed)
    try:
        yield
    finally:
        handle.remove()
