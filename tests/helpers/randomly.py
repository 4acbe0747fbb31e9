"""A network and methods that draw from the process's own generators, or end the process."""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from fedlab.clients.base import Carry, ClientTrainer, Phase, Received, Update
from fedlab.federation.client_updates import ClientUpdate
from fedlab.strategies.base import Strategy


class Noisy(nn.Module):
    """Scales its inputs by numbers of three generators while it trains."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.dense = nn.LazyLinear(num_classes)
        self.start = random.random() + np.random.rand()
        self.drop = nn.Dropout(0.1)  # tells that the network is random

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if self.training:
            inputs = inputs * (self.start + random.random() + np.random.rand())
        return self.dense(self.drop(inputs).flatten(1))


def noisy(input_shape: tuple[int, ...], num_classes: int) -> Noisy:
    """The network with its layer made."""
    network = Noisy(num_classes)
    network(torch.zeros(2, *input_shape))
    return network


class Sampling(Strategy):
    """Adds noise of NumPy's and Python's generators to the mean."""

    def aggregate(self, server_round: int, updates: Sequence[ClientUpdate]) -> None:
        super().aggregate(server_round, updates)
        for tensor in self.state["arrays"].values():
            if tensor.is_floating_point():
                tensor.add_(1e-3 * (np.random.rand() + random.random()))


class Leaving(ClientTrainer):
    """Ends the process, it believes, at the end of its round."""

    def finish(self, carry: Carry, received: Received, steps: int) -> Update:
        sys.exit(0)


class LeavingStrategy(Strategy):
    """Ends the process, it believes, when it combines."""

    def aggregate(self, server_round: int, updates: Sequence[ClientUpdate]) -> None:
        sys.exit(0)


def leaving_network(num_classes: int) -> nn.Module:
    """Ends the process before there is a network."""
    sys.exit(0)


def normalised(input_shape: tuple[int, ...], num_classes: int) -> nn.Module:
    """A dense network that cannot learn from a single sample."""
    width = int(np.prod(input_shape))
    return nn.Sequential(
        nn.Flatten(), nn.Linear(width, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, num_classes)
    )


class Resting(ClientTrainer):
    """Sends back what it received."""

    def phases(self) -> Sequence[Phase]:
        return []
