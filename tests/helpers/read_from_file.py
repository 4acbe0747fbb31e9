"""A network whose first layer is read from a file and does not learn."""

from __future__ import annotations

from math import prod

import torch
from torch import nn


def network(input_shape: tuple[int, ...], num_classes: int, path: str) -> nn.Module:
    """The network.

    Args:
        input_shape: Shape of one sample.
        num_classes: Outputs.
        path: The file of the first layer's state.
    """
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(prod(input_shape), 6), nn.ReLU(), nn.Linear(6, num_classes)
    )
    first = model[1].requires_grad_(False)
    first.load_state_dict(torch.load(path, weights_only=True))
    return model
