"""Replaces a network's tensors by those of a client, and restores them.

Like `torch.func.functional_call`, but the places are looked up once instead of in every step, and a
network with activation checkpointing can keep a client's tensors until its backward pass is done.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from fedlab.models.anatomy.anatomy import anatomy_of
from fedlab.models.anatomy.names import first_names, joined
from fedlab.records import Tensors


class Places:
    """The places of a network's tensors.

    Args:
        model: The network; `restore` puts back its current tensors.
    """

    def __init__(self, model: nn.Module) -> None:
        parameters, buffers = first_names(model)
        first = {**parameters, **buffers}
        self.slots: dict[str, list[tuple[dict[str, Any], str]]] = {}
        for path, module in model.named_modules():
            for own in (module._parameters, module._buffers):
                for name, tensor in own.items():
                    if tensor is not None:
                        self.slots.setdefault(first[joined(path, name)], []).append((own, name))
        self.own = {name: slots[0][0][slots[0][1]] for name, slots in self.slots.items()}

    def put(self, tensors: Tensors) -> None:
        """Puts tensors into the network, under all their names."""
        slots = self.slots
        for name, tensor in tensors.items():
            for own, key in slots[name]:
                own[key] = tensor

    def take(self, buffers: Tensors) -> None:
        """Updates `buffers` with those that the network has replaced by new tensors."""
        slots = self.slots
        for name, tensor in buffers.items():
            own, key = slots[name][0]
            if own[key] is not tensor:
                buffers[name] = own[key].detach()

    def restore(self) -> None:
        """Puts the network's own tensors back."""
        self.put(self.own)


@contextmanager
def with_tensors(model: nn.Module, state: Mapping[str, torch.Tensor]) -> Generator[nn.Module]:
    """Within the context, a network has the tensors of a state, under all their names.

    Args:
        model: The network; its own tensors are restored afterwards.
        state: A state dict, complete or in part.
    """
    places = Places(model)
    try:
        places.put(anatomy_of(model).pick(state))
        yield model
    finally:
        places.restore()
