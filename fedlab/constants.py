"""Small constant tensors, made once for each device.

An accelerator would wait for the host in every step that sends it one, or launch kernels that make
it anew.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from functools import lru_cache

import torch
from torch import Tensor


def constant(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """The values as a tensor of one dimension, which must not be written to."""
    return _given(_constant(values, dtype, device))


def counted(size: int, device: torch.device) -> Tensor:
    """The numbers 0, 1, ..., `size` - 1, int64; must not be written to."""
    return _given(_counted(size, device))


def identity(size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The identity matrix, whose rows are classes as zeros and ones; must not be written to."""
    return _given(_identity(size, dtype, device))


@contextmanager
def collected() -> Generator[list[Tensor]]:
    """A list of all constants that are asked for within the context.

    Who replays operations without asking again keeps it, as rarely used constants are forgotten
    and their memory is used anew.
    """
    found: list[Tensor] = []
    _lists.append(found)
    try:
        yield found
    finally:
        _lists[:] = [each for each in _lists if each is not found]


_lists: list[list[Tensor]] = []


def _given(tensor: Tensor) -> Tensor:
    for each in _lists:
        each.append(tensor)
    return tensor


@lru_cache(maxsize=256)
def _constant(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    with _outside():
        return torch.tensor(values, dtype=dtype, device=device)


@lru_cache(maxsize=256)
def _counted(size: int, device: torch.device) -> Tensor:
    with _outside():
        return torch.arange(size, device=device)


@lru_cache(maxsize=16)
def _identity(size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    with _outside():
        return torch.eye(size, dtype=dtype).to(device)


@contextmanager
def _outside() -> Generator[None]:
    """Outside of inference mode and of transforms of `torch.func`, whose tensors end with them."""
    with torch.inference_mode(False), torch._C._DisableFuncTorch():  # type: ignore[attr-defined]
        yield
