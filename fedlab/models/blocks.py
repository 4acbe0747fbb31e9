"""A network as a row of parts, for methods that share some of its layers and keep the others.

A part is a layer with weights, or a block that is no plain sequence (a residual block, say): blocks
are not torn apart. A normalisation layer belongs to the part before it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import nn

from fedlab.models.anatomy import anatomy_of
from fedlab.models.normalisation import normalises

CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


def parts(model: nn.Module) -> list[tuple[str, ...]]:
    """The parts of a network, in the order in which data pass them.

    The part that has the head is the last, and those that no data pass are the first. Of a network
    that was not run the order is that in which they were registered.

    Args:
        model: Any network. Tensors that it owns itself, in no layer, belong to no part.

    Returns:
        For each part the names of its tensors as in ``model.state_dict()``, buffers included.
    """
    places: list[list[str]] = []
    _collect(model, "", places)
    names = list(model.state_dict())
    anatomy = anatomy_of(model)
    if anatomy.observed is not None and anatomy.observed.order:
        calls = {f"{path}.": k for k, path in enumerate(anatomy.observed.order)}
        places.sort(key=lambda place: _when(place[0], calls, anatomy.head))
    if not places:  # the network is itself a layer
        return [tuple(names)] if names else []
    return [tuple(n for n in names if n.startswith(tuple(place))) for place in places]


def last_parts(model: nn.Module, count: int) -> tuple[str, ...]:
    """Names of the tensors of a network's last parts; none for a count of 0."""
    found = parts(model)
    return tuple(name for part in found[max(len(found) - count, 0) :] for name in part)


def _when(place: str, calls: Mapping[str, int], head: str | None) -> float:
    """When a part had done its work: with its last call, or that of a module within it."""
    if head is not None and f"{head}.".startswith(place):
        return math.inf
    return max((k for path, k in calls.items() if path.startswith(place)), default=-1)


def _collect(module: nn.Module, prefix: str, places: list[list[str]]) -> None:
    """Adds the name prefixes of each part within a module."""
    for name, child in module.named_children():
        place = f"{prefix}{name}."
        if isinstance(child, CONTAINERS):
            _collect(child, place, places)
        elif normalises(child) and places:
            places[-1].append(place)
        elif child.state_dict():
            places.append([place])
