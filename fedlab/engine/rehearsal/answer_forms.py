"""Differences of a hook's return value from the required form, in words; empty if none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch


def other_form(where: str, tensors: Mapping[str, Any], name: str, like: torch.Tensor) -> str:
    """The difference of a tensor's shape from the required one."""
    if name not in tensors:
        return f"leaves '{name}' out of {where}"
    value = tensors[name]
    if not isinstance(value, torch.Tensor):
        return f"puts {kind_of(value)} into {where} for '{name}'"
    if value.shape != like.shape:
        return (
            f"gives '{name}' of {where} the shape {tuple(value.shape)} instead of "
            f"{tuple(like.shape)}"
        )
    return ""


def no_tensors(where: str, tensors: Any) -> str:
    """Why a value is not a dictionary of tensors."""
    if not isinstance(tensors, Mapping):
        return f"puts {kind_of(tensors)} into {where}; put a dictionary of tensors there"
    for name, value in tensors.items():
        if not isinstance(name, str):
            return f"names a tensor in {where} {name!r}; names are strings"
        if not isinstance(value, torch.Tensor):
            return f"puts {kind_of(value)} into {where} for '{name}'; put a tensor there"
    return ""


def wrong_metrics(metrics: Any) -> str:
    """Why a value is not a dictionary of scalars."""
    if not isinstance(metrics, Mapping):
        return f"returns {kind_of(metrics)} as the metrics; return a dictionary of scalars"
    for name, value in metrics.items():
        if isinstance(value, torch.Tensor) and value.shape != ():
            return (
                f"returns the metric '{name}' of shape {tuple(value.shape)}; return its mean over "
                "the batch, a scalar"
            )
        if not isinstance(value, torch.Tensor | int | float):
            return f"returns {kind_of(value)} as the metric '{name}'; return a scalar"
    return ""


def kind_of(value: Any) -> str:
    """The kind of a value: ``a dict``, ``a tuple of 3``, ``nothing``."""
    if value is None:
        return "nothing"
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


def listed(names: Iterable[str]) -> str:
    """Names in quotes."""
    return ", ".join(f"'{name}'" for name in names) or "nothing"


def all_finite(tensors: Iterable[torch.Tensor]) -> bool:
    """Whether all numbers of tensors are finite."""
    return all(bool(t.detach().isfinite().all()) for t in tensors if t.is_floating_point())


def not_finite(records: Mapping[str, Mapping[str, torch.Tensor]]) -> str:
    """Name of the first tensor with a value that is not finite; empty if there is none."""
    for tensors in records.values():
        for name, tensor in tensors.items():
            if not all_finite([tensor]):
                return name
    return ""
