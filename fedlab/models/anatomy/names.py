"""The names of a network's tensors; a tensor with several names goes by the first."""

from __future__ import annotations

from torch import nn


def joined(path: str, name: str) -> str:
    """The full name of a tensor or module, from the path of its owner."""
    return f"{path}.{name}" if path else name


def first_names(model: nn.Module) -> tuple[dict[str, str], dict[str, str]]:
    """Name -> first name of the same tensor, for parameters and for buffers.

    A tensor has several names if weights are tied, or if a module is used in two places.
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
