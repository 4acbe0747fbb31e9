"""Hearing what a module within a network is given, by a forward hook.

That works for any network, also under `torch.func.functional_call` and `torch.func.vmap`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TypeVar

from torch import Tensor, nn

T = TypeVar("T")


@contextmanager
def heard_by(module: nn.Module, read: Callable[[Tensor], T]) -> Generator[list[T]]:
    """Records what a module is given in every forward pass within the context.

    Args:
        module: The module.
        read: Makes of its input what is recorded.
    """
    heard: list[T] = []
    handle = module.register_forward_pre_hook(lambda _, inputs: heard.append(read(inputs[0])))
    try:
        yield heard
    finally:
        handle.remove()
