"""A network with other initial weights."""

from __future__ import annotations

import torch
from torch import nn

from fedlab.models.copies import copy_of


def redrawn(model: nn.Module) -> nn.Module:
    """A copy whose layers have drawn their weights anew, by PyTorch's generator.

    Layers draw as PyTorch's do (``reset_parameters``); what a network has initialised by rules of
    its own, or without a layer, is drawn by PyTorch's or stays.
    """
    other = copy_of(model)
    with torch.no_grad():
        for module in other.modules():
            reset = getattr(module, "reset_parameters", None)
            if callable(reset):
                reset()
    return other
