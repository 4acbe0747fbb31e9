"""The head of a network: the dense layer that computes its outputs; the layers before are the body.

Features are the inputs of the head. They are recorded by a forward hook, which works for any
network, also under `torch.func.functional_call` and `torch.func.vmap`.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import nn
from torch.func import functional_call
from torch.nn.functional import linear

from fedlab.models.anatomy import anatomy_of
from fedlab.models.captured import captured_inputs
from fedlab.records import Tensors


@dataclass(frozen=True)
class Head:
    """The dense layer that computes a network's outputs.

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
        """Number of its inputs."""
        return self.layer.in_features

    def outputs(self, parameters: Tensors, features: torch.Tensor) -> torch.Tensor:
        """Its outputs, shape (batch, classes), computed with `parameters` of the network.

        Parameters that are missing there (frozen ones) are taken from the layer.
        """
        names = self.names
        if type(self.layer) is nn.Linear and all(name in parameters for name in names):
            return linear(features, *(parameters[name] for name in names))
        prefix = len(self.path) + 1 if self.path else 0
        own = {name[prefix:]: parameters[name] for name in names if name in parameters}
        return functional_call(self.layer, own, (features,))

    def listen(self) -> AbstractContextManager[list[torch.Tensor]]:
        """Records the features of every forward pass within the context."""
        return captured_inputs(self.layer, lambda features: features)


def find_head(model: nn.Module) -> Head | None:
    """The dense layer that computes a network's outputs, or None.

    Found by running the network, or given in the scenario (``model.head``). For a network that was
    not run, the dense layer that was registered last.
    """
    anatomy = anatomy_of(model)
    layers = {p: m for p, m in model.named_modules() if isinstance(m, nn.Linear)}
    if not anatomy.was_run and anatomy.stated_head is None:
        return Head(*list(layers.items())[-1]) if layers else None
    path = anatomy.head
    return Head(path, layers[path]) if path is not None and path in layers else None
