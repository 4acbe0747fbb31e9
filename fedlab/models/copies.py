"""Copies of any network, including what `copy.deepcopy` drops or refuses."""

from __future__ import annotations

import copy
from collections import OrderedDict
from typing import Any

import torch
from torch import nn

EMPTY = (dict, OrderedDict)
"""Types of a module's hooks by kind. Nearly all are empty, and `copy.deepcopy` takes as long for
each as for a tensor."""


def copy_of(model: nn.Module) -> nn.Module:
    """A copy of a network in new memory.

    `copy.deepcopy` alone refuses non-leaf tensors in attributes (as PyTorch's older weight norm
    leaves them), and drops the hooks of parameters.
    """
    memo: dict[int, Any] = {}
    for module in model.modules():
        for value in vars(module).values():
            if isinstance(value, torch.Tensor) and not isinstance(value, nn.Parameter):
                memo[id(value)] = value.detach().clone()
            elif type(value) in EMPTY and not value:
                memo[id(value)] = type(value)()
    copied = copy.deepcopy(model, memo)
    pairs = zip(model.parameters(), copied.parameters(), strict=True)
    for parameter, new in pairs:
        for hook in (parameter._backward_hooks or {}).values():
            new.register_hook(hook)
    return copied
