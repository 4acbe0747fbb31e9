"""The names of a network's tensors: of several that one tensor has, the first counts."""

from __future__ import annotations

from torch import nn


def joined(path: str, name: str) -> str:
    """A tensor's or module's name within the network, by the path of the module that has it."""
    return f"{path}.{name}" if path else name


def first_names(model: nn.Module) -> tuple[dict[str, str], dict[str, str]]:
    """Every name of a parameter, and of a buffer, and the first name of the same tensor.

    A tensor has several names where weights are tied, and where one module stands in two places.
    """
    parameters: dict[int, str] = {}
    buffers: dict[int, str] = {}
    return (
        {
            name: parameters.setdefault(id(tensor), name)
            for name, tensor in model.named_parameters(remove_duplicate=False)
        },
        {
            name: buffers.setdefault(id(tensor), name)
            for name, tensor in model.named_buffers(remove_duplicate=False)
        },
    )
