"""Copies of any network, with all that `copy.deepcopy` leaves out or stumbles over."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn


def copy_of(model: nn.Module) -> nn.Module:
    """A network of the same values, in memory of its own.

    `copy.deepcopy` alone refuses tensors that a forward pass has left in an attribute (PyTorch's
    older weight norm does), and drops the hooks of parameters.
    """
    memo: dict[int, Any] = {
        id(value): value.detach().clone()
        for module in model.modules()
        for value in vars(module).values()
        if isinstance(value, torch.Tensor) and not isinstance(value, nn.Parameter)
    }
    copied = copy.deepcopy(model, memo)
    pairs = zip(model.parameters(), copied.parameters(), strict=True)
    for parameter, new in pairs:
        for hook in (parameter._backward_hooks or {}).values():
            new.register_hook(hook)
    return copied
