"""Tensors at fixed addresses, into which clients' own are copied."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping

import torch
from torch import Tensor

from fedlab.clients.base import Carry
from fedlab.data.client_data import ClientData
from fedlab.engine.execution.captured.capture import NotCapturableError
from fedlab.engine.execution.feed import Feed
from fedlab.training.lists import copied, overwrite

Place = tuple[str, ...]
"""Where in a carry a tensor is: ("parameters", name), ("optimizer", slot, name)."""


def places_of(carry: Carry) -> Iterator[tuple[Place, Tensor]]:
    """All tensors of a carry, with their places.

    Raises:
        NotCapturableError: If something in it is no tensor.
    """
    for section in ("parameters", "buffers"):
        yield from _tensors(getattr(carry, section), (section,))
    for section in ("optimizer", "extra"):
        for record, tensors in getattr(carry, section).items():
            yield from _tensors(tensors, (section, record))


def _tensors(tensors: Mapping[str, object], place: Place) -> Iterator[tuple[Place, Tensor]]:
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            raise NotCapturableError(
                f"the method keeps '{name}' between steps, which is a {type(tensor).__name__} and "
                "no tensor"
            )
        yield (*place, name), tensor


def form_of(carry: Carry, device: torch.device) -> Hashable:
    """Names, shapes and memory formats of a carry's tensors, and which of them are the same.

    Raises:
        NotCapturableError: If one of them is on another device, whose value would be fixed.
    """
    numbers: dict[int, int] = {}
    form = []
    for place, tensor in places_of(carry):
        if tensor.device.type != device.type:
            raise NotCapturableError(
                f"the method keeps '{place[-1]}' between steps on {tensor.device.type}, not on the "
                f"device that trains ({device.type})"
            )
        number = numbers.setdefault(id(tensor), len(numbers))
        form.append((place, number, tensor.shape, tensor.stride(), tensor.dtype))
    return tuple(form)


class StaticCarry:
    """A carry at fixed addresses; a tensor that is in several places is one here, too.

    Args:
        like: A carry of the same form.
    """

    def __init__(self, like: Carry) -> None:
        known: dict[int, Tensor] = {}
        self.carry = like.map(lambda t: known.setdefault(id(t), torch.empty_like(t)))
        self.tensors = list(known.values())

    def load(self, carry: Carry) -> None:
        """Copies a carry of the same form into this one."""
        values = {id(tensor): tensor for _, tensor in places_of(carry)}
        overwrite(self.tensors, list(values.values()))

    def copy(self) -> Carry:
        """A carry with copies of the present values."""
        made = copied({str(id(tensor)): tensor for tensor in self.tensors})
        return self.carry.map(lambda tensor: made[str(id(tensor))])

    def placed(self, at: Mapping[int, Tensor]) -> Carry:
        """The carry with other tensors in place of its own, by their `id`."""
        return self.carry.map(lambda tensor: at[id(tensor)])


class StaticSamples:
    """Samples at fixed addresses, as many as the largest client has.

    Args:
        like: A client's samples.
        labelled: Whether steps read which labels are known.
    """

    def __init__(self, like: ClientData, labelled: bool) -> None:
        rows = 1 << max(len(like.labels) - 1, 0).bit_length()
        self.inputs = like.inputs.new_empty((rows, *like.inputs.shape[1:]))
        self.labels = like.labels.new_empty((rows, *like.labels.shape[1:]))
        known = rows if labelled else 0
        self.labelled_there = torch.empty(known, dtype=torch.bool, device=like.labels.device)

    @property
    def tensors(self) -> list[Tensor]:
        """All of them."""
        return [self.inputs, self.labels, self.labelled_there]

    def takes(self, data: ClientData, labelled: bool) -> bool:
        """Whether a client's samples fit in."""
        pairs = ((self.inputs, data.inputs), (self.labels, data.labels))
        return (
            len(data.labels) <= len(self.labels)
            and labelled <= bool(len(self.labelled_there))
            and all(
                (mine.shape[1:], mine.dtype, mine.device)
                == (theirs.shape[1:], theirs.dtype, theirs.device)
                for mine, theirs in pairs
            )
        )

    def load(self, data: ClientData) -> None:
        """Copies a client's samples in."""
        rows = len(data.labels)
        self.inputs[:rows].copy_(data.inputs)
        self.labels[:rows].copy_(data.labels)
        if len(self.labelled_there):
            self.labelled_there[:rows].copy_(data.labelled_there)


class StaticFeed:
    """What one step reads, at fixed addresses.

    Args:
        like: What a step of the same shape reads.
    """

    def __init__(self, like: Feed) -> None:
        self.tensors = [torch.empty_like(tensor) for tensor in _of(like)]

    def load(self, feed: Feed) -> None:
        """Copies what the next step reads in."""
        for target, value in zip(self.tensors, _of(feed), strict=True):
            target.copy_(value)

    @staticmethod
    def form_of(feed: Feed) -> Hashable:
        """Shapes and types; which of draws and noise there are."""
        there = (feed.draws is not None, feed.noise is not None)
        return (*there, *((tensor.shape, tensor.dtype) for tensor in _of(feed)))


def _of(feed: Feed) -> list[Tensor]:
    return [tensor for tensor in (feed.rows, feed.draws, feed.noise) if tensor is not None]


def feed_of(like: Feed, tensors: list[Tensor]) -> Feed:
    """A feed like another one, of these tensors."""
    given = iter(tensors)
    rows = next(given)
    draws = None if like.draws is None else next(given)
    return Feed(rows, draws, noise=None if like.noise is None else next(given))
