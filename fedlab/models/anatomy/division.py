"""The division of a network into parts, by its structure alone."""

from __future__ import annotations

from torch import nn

from fedlab.models.normalisation import normalises

CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


def places(model: nn.Module) -> list[list[str]]:
    """The name prefixes of each part of a network, in the order of registration.

    A part is a layer with weights, or a block that is not a plain sequence, with the normalisation
    that follows it. A network that is itself a layer has none.
    """
    found: list[list[str]] = []
    _collect(model, "", found)
    return found


def _collect(module: nn.Module, prefix: str, found: list[list[str]]) -> None:
    """Appends the name prefixes of each part within a module."""
    for name, child in module.named_children():
        place = f"{prefix}{name}."
        if isinstance(child, CONTAINERS):
            _collect(child, place, found)
        elif normalises(child) and found:
            found[-1].append(place)
        elif child.state_dict():
            found.append([place])
