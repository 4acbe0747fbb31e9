"""The head of a network: its last dense layer; all before it is the body.

Features are what the head is given. They are overheard while the network runs, so that any network
will do, under `torch.func.functional_call` and `torch.func.vmap` alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.functional import linear

from fedlab.records import Tensors


@dataclass(frozen=True)
class Head:
    """A network's last dense layer.

    Attributes:
        path: Its name within the network; empty if it is the network.
        layer: The layer.
    """

    path: str
    layer: nn.Linear

    @property
    def names(self) -> tuple[str, ...]:
        """Names of its parameters within the network's state dict."""
        prefix = f"{self.path}." if self.path else ""
        return tuple(prefix + name for name, _ in self.layer.named_parameters())

    @property
    def features(self) -> int:
        """Number of features it is given."""
        return self.layer.in_features

    def outputs(self, parameters: Tensors, features: torch.Tensor) -> torch.Tensor:
        """Its outputs, shape (batch, classes), with its parameters taken from the network's."""
        return linear(features, *(parameters[name] for name in self.names))

    @contextmanager
    def listen(self) -> Iterator[list[torch.Tensor]]:
        """Overhears the features of every forward pass within the context."""
        heard: list[torch.Tensor] = []
        handle = self.layer.register_forward_pre_hook(lambda _, inputs: heard.append(inputs[0]))
        try:
            yield heard
        finally:
            handle.remove()


def find_head(model: nn.Module) -> Head | None:
    """The dense layer that was registered last, if there is one."""
    last = None
    for path, module in model.named_modules():
        if isinstance(module, nn.Linear):
            last = Head(path, module)
    return last
