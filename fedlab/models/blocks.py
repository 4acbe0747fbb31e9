"""A network as a sequence of parts, for methods that share some layers and keep the others local.

A part is a layer with weights, or a block that is not a plain sequence (a residual block), which is
not divided. A normalisation layer belongs to the part before it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import nn

from fedlab.models.anatomy import anatomy_of
from fedlab.models.anatomy.division import places


def parts(model: nn.Module) -> list[tuple[str, ...]]:
    """The parts of a network, in the order of the forward pass.

    The part with the head, or that alone gives the outputs, is last; unused parts are first. For a
    network that was not run, the order is that of registration.

    Args:
        model: Any network. Its own tensors, outside of its layers, belong to no part.

    Returns:
        For each part the names of its tensors as in ``model.state_dict()``, buffers included.
    """
    found = places(model)
    names = list(model.state_dict())
    anatomy, seen = anatomy_of(model), anatomy_of(model).observed
    if seen is not None and seen.order:
        calls = {f"{path}.": k for k, path in enumerate(seen.order)}
        end = seen.ends[0] if len(seen.ends) == 1 else None
        last = end if anatomy.head is None else anatomy.head
        found.sort(key=lambda place: _when(place[0], calls, last))
    if not found:  # the network is itself a layer
        return [tuple(names)] if names else []
    return [tuple(n for n in names if n.startswith(tuple(place))) for place in found]


def last_parts(model: nn.Module, count: int) -> tuple[str, ...]:
    """Names of the tensors of a network's last parts; none for a count of 0."""
    found = parts(model)
    return tuple(name for part in found[max(len(found) - count, 0) :] for name in part)


def _when(place: str, calls: Mapping[str, int], last: str | None) -> float:
    """The place of a part in the forward pass: its last call, or that of a module within it."""
    if last is not None and f"{last}.".startswith(place):
        return math.inf
    return max((k for path, k in calls.items() if path.startswith(place)), default=-1)
