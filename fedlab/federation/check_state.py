"""Check of a strategy's state after `aggregate`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from fedlab.errors import RunError


def check_aggregated(
    name: str, returned: object, before: Mapping[str, torch.Size], after: Mapping[str, Any]
) -> None:
    """Refuses a next state whose names, types or shapes differ from the last one's.

    Args:
        name: The strategy's class.
        returned: Return value of `aggregate`, which must be None.
        before: Shapes of the shared tensors before `aggregate`.
        after: The shared tensors after it.

    Raises:
        RunError: With the first difference.
    """
    place = f"{name}.aggregate"
    if returned is not None:
        raise RunError(
            f"{place} returned a {type(returned).__name__}, which is not read; put the next "
            'tensors into self.state["arrays"] and return nothing'
        )
    for tensor in before:
        if tensor not in after:
            raise RunError(
                f"{place} left '{tensor}' out of self.state[\"arrays\"]; keep every tensor that "
                "clients share, and let them send each of them"
            )
    for tensor, value in after.items():
        if not isinstance(value, torch.Tensor):
            raise RunError(
                f"{place} put a {type(value).__name__} into self.state[\"arrays\"] for '{tensor}'; "
                "put a torch.Tensor there"
            )
        if value.shape != before.get(tensor, value.shape):
            raise RunError(
                f"{place} gave '{tensor}' the shape {tuple(value.shape)}; it has to stay "
                f"{tuple(before[tensor])}"
            )
