"""Copies trained tensors into a network by name, and reports those without a counterpart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fedlab.errors import InputError

NOTE = "_fedlab_transfer"
"""Attribute of a network that stores its `Transfer`."""

SHOWN = 3


@dataclass(frozen=True)
class Transfer:
    """The names of transferred tensors, and of those without a counterpart.

    Attributes:
        source: Where they are from, in words.
        taken: Names of the network's tensors that have their values.
        new_head: Names of the head's tensors that start anew, as those in the file have another
            shape (another number of classes).
        missing: Names of the network's other tensors that the file does not have.
        unused: Names of the file's tensors that the network does not have.
    """

    source: str
    taken: tuple[str, ...]
    new_head: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()

    @property
    def is_whole(self) -> bool:
        """Whether every tensor has a counterpart."""
        return not (self.new_head or self.missing or self.unused)

    def __str__(self) -> str:
        parts = [f"starts from {_count(self.taken)} of {self.source}"]
        if self.new_head:
            parts.append(f"a new head ({_some(self.new_head)})")
        if self.missing:
            parts.append(f"not in it, and new: {_count(self.missing)} ({_some(self.missing)})")
        if self.unused:
            parts.append(f"not used of it: {_count(self.unused)} ({_some(self.unused)})")
        return "; ".join(parts)


def transfer_of(model: nn.Module) -> Transfer | None:
    """What `transfer` has stored in a network; None without trained weights."""
    return vars(model).get(NOTE)


def keep_transfer(model: nn.Module, adapted: nn.Module) -> None:
    """Copies the stored `Transfer` of a network to the network that a method has made of it."""
    if (found := transfer_of(model)) is not None:
        vars(adapted)[NOTE] = found


@torch.no_grad()
def transfer(
    model: nn.Module,
    tensors: Mapping[str, Tensor],
    source: str,
    *,
    head: Sequence[str] = (),
    own: Sequence[str] = (),
    strict: bool = False,
) -> Transfer:
    """Copies tensors into the network's tensors of the same names, and stores a `Transfer` in it.

    Args:
        model: The network; changed in place.
        tensors: Trained tensors by name.
        source: Where they are from, in words.
        head: Names of the head's tensors: all of them keep their values if one has another shape.
        own: Names that need not be among the trained tensors (adapters).
        strict: Whether every name must have a counterpart; a head of another shape has one.

    Raises:
        InputError: If a tensor has another shape, nothing has a counterpart, or, with `strict`,
            anything has none.
    """
    mine = model.state_dict(keep_vars=True)
    shared = [name for name in mine if name in tensors]
    new_head = [*head] if any(_differ(mine, tensors, name) for name in head) else []
    for name in shared:
        if name not in new_head and _differ(mine, tensors, name):
            raise InputError(
                f"model.weights: '{name}' of {source} has the shape {_shape(tensors[name])} and "
                f"the model's {_shape(mine[name])}; set the parameters of the model (and "
                "data.channels, data.image_size) as they were for these weights, or name others"
            )
    taken = [name for name in shared if name not in new_head]
    parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    if not parameters.intersection(taken):
        raise InputError(
            f"model.weights: {source} has none of the model's parameters: it has "
            f"{_some([*tensors])} and the model {_some([*mine])}; "
            f"{_prefix_hint(mine, tensors)}name weights of this model"
        )
    _refuse_adapters(mine, tensors, source)
    missing = [name for name in mine if name not in tensors and name not in (*own, *new_head)]
    unused = [name for name in tensors if name not in mine]
    report = Transfer(source, tuple(taken), tuple(new_head), tuple(missing), tuple(unused))
    if strict and (missing or unused):
        raise InputError(
            f"model.weights.strict: {report}; set strict: false, with which what is not in it (a "
            "head of other names, too) starts at random, or name weights of this very model"
        )
    for name in taken:
        mine[name].copy_(_as_type_of(mine[name], tensors[name], f"'{name}' of {source}"))
    vars(model)[NOTE] = report
    return report


def _as_type_of(mine: Tensor, given: Tensor, what: str) -> Tensor:
    """A trained tensor in the type of the network's.

    Raises:
        InputError: If that type cannot hold its values: integers (of a quantised network, say) are
            no weights without their scale, and a number may be too large.
    """
    if mine.is_floating_point() and not given.is_floating_point():
        raise InputError(
            f"model.weights: {what} has values of type {_type(given)}, and the model's are "
            f"{_type(mine)}; save the weights as floats (those of a quantised network with their "
            "scale applied)"
        )
    values = given.to(mine.dtype)
    # A buffer may be infinite where the network's own is: a mask of attention.
    if mine.is_floating_point() and not (values.isfinite() | ~mine.isfinite()).all():
        cause = (
            f"a value that {_type(mine)} cannot hold"
            if bool(given.isfinite().all())
            else "values that are not finite"
        )
        raise InputError(
            f"model.weights: {what} has {cause}; name a file of a network that has not diverged"
        )
    return values


def _type(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def without_prefix(tensors: Mapping[str, Tensor], prefix: str, source: str) -> dict[str, Tensor]:
    """The tensors whose names begin with a prefix, without it.

    Raises:
        InputError: If there are none.
    """
    found = {n.removeprefix(prefix): each for n, each in tensors.items() if n.startswith(prefix)}
    if not found:
        raise InputError(
            f"model.weights.prefix: no name in {source} begins with '{prefix}'; it has "
            f"{_some([*tensors])}"
        )
    return found


def _refuse_adapters(
    mine: Mapping[str, Tensor], tensors: Mapping[str, Tensor], source: str
) -> None:
    """Refuses trained adapters that would silently be left out."""
    adapters = [name for name in tensors if name.endswith(".lora_b") and name not in mine]
    if adapters:
        raise InputError(
            f"model.weights: {source} has adapters ('{adapters[0]}'), without which its network is "
            "the one before it was trained; give model.adapt as it was there"
        )


def _differ(mine: Mapping[str, Tensor], tensors: Mapping[str, Tensor], name: str) -> bool:
    return name in mine and name in tensors and mine[name].shape != tensors[name].shape


def _prefix_hint(mine: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> str:
    for name in tensors:
        for own in mine:
            if name.endswith(f".{own}") and tensors[name].shape == mine[own].shape:
                return f"set model.weights.prefix to '{name.removesuffix(own)}', or "
    return ""


def _shape(tensor: Tensor) -> str:
    return f"({', '.join(map(str, tensor.shape))})"


def _count(names: Sequence[str]) -> str:
    return f"{len(names)} tensor{'s' * (len(names) != 1)}"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + ", ..." * (len(names) > SHOWN)
