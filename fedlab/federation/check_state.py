"""What a strategy's `aggregate` has to leave behind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from fedlab.errors import RunError


def check_aggregated(
    name: str, returned: object, before: Mapping[str, torch.Size], after: Mapping[str, Any]
) -> None:
    """Refuses a next state that is not of the form of the last one.

    Args:
        name: The strategy's class.
        returned: What `aggregate` returned; what it means goes into ``self.state``.
        before: Shapes of the shared tensors that clients were sent.
        after: What they would be sent next.

    Raises:
        RunError: With what is wrong.
    """
    place = f"{name}.aggregate"
    if returned is not None:
        raise RunError(
            f"{place} returned a {type(returned).__name__}, which nobody reads; put the next "
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
