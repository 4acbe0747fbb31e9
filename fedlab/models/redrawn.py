"""A network with other initial weights."""

from __future__ import annotations

import torch
from torch import nn

from fedlab.models.copies import copy_of


def redrawn(model: nn.Module) -> nn.Module:
    """A copy whose layers have drawn their weights anew, by PyTorch's generator.

    Layers draw as PyTorch's do (``reset_parameters``), also where the network had initialised them
    otherwise; parameters outside of such layers stay.
    """
    other = copy_of(model)
    with torch.no_grad():
        for module in other.modules():
            reset = getattr(module, "reset_parameters", None)
            if callable(reset):
                reset()
    return other
