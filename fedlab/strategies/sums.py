"""Weighted sums of updates, in double precision, that can be made in parts wherever clients run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from fedlab.records import Tensors, as_tensor

CACHED = 2**15
"""Values whose double-precision copies stay in a core's cache while they are added."""

SMALL = 2**13
"""Values that are quicker added at once."""


class WeightedSum:
    """The sum of weight times update over some clients.

    Integer tensors (a batch normalisation's step counter) are not summed: the largest is kept.

    Attributes:
        weight: Sum of the weights.
        clients: How many clients are in it.
        arrays: The sums by record and name, float64, where the updates were made.
        dtypes: What the mean will be in, by record and name.
    """

    def __init__(self) -> None:
        self.weight = 0.0
        self.clients = 0
        self.arrays: dict[str, Tensors] = {}
        self.dtypes: dict[str, dict[str, torch.dtype]] = {}
        self._own = True  # whether the tensors may be written to

    @classmethod
    def of(
        cls,
        arrays: dict[str, Tensors],
        dtypes: dict[str, dict[str, torch.dtype]],
        weights: Sequence[float],
    ) -> WeightedSum:
        """A sum that was made elsewhere.

        Args:
            arrays: The sums by record and name, float64.
            dtypes: What the mean will be in, by record and name.
            weights: What each client counts in them.
        """
        total = cls()
        total.arrays, total.dtypes = arrays, dtypes
        total.weight, total.clients = sum(weights), len(weights)
        return total

    def add(self, updates: Sequence[Mapping[str, Tensors]], weights: Sequence[float]) -> None:
        """Takes in clients' updates, which stay as they are, in this order.

        Args:
            updates: The tensors of each by record and name.
            weights: What each of them counts.

        Raises:
            ValueError: If they have other names than each other, or than those before.
        """
        if not self.clients:
            first = updates[0]
            self.dtypes = {r: {n: t.dtype for n, t in ts.items()} for r, ts in first.items()}
            self.arrays = {
                r: {n: _weighted(t, weights[0]) for n, t in ts.items()} for r, ts in first.items()
            }
            self.weight += weights[0]
            self.clients += 1
            updates, weights = updates[1:], weights[1:]
        for update in updates:
            _same_names(self.arrays, update)
        for record, tensors in self.arrays.items():
            for name, total in tensors.items():
                _accumulate(total, [update[record][name] for update in updates], weights)
        self.weight += sum(weights)
        self.clients += len(updates)

    def include(self, other: WeightedSum) -> None:
        """Takes in a sum over other clients, whose memory may be used for it."""
        if self.clients:
            self.merge(other)
        else:
            self.__dict__.update(other.__dict__)

    def merge(self, other: WeightedSum) -> WeightedSum:
        """The sum of both; this one's memory is used for it where that is possible.

        Raises:
            ValueError: If they have different names.
        """
        _same_names(self.arrays, other.arrays)
        for record, tensors in self.arrays.items():
            for name, tensor in tensors.items():
                add = torch.add if self.dtypes[record][name].is_floating_point else torch.maximum
                new = other.arrays[record][name]
                tensors[name] = add(tensor, new, out=tensor if self._own else None)
        self._own = True
        self.weight += other.weight
        self.clients += other.clients
        return self

    def mean(self, record: str) -> Tensors:
        """The weighted mean of one record, in the type the clients sent, on the CPU.

        Raises:
            ValueError: If the weights do not have a positive sum.
        """
        if not self.weight > 0:
            raise ValueError(f"the weights of {self.clients} updates sum to {self.weight}")
        dtypes = self.dtypes[record]
        return {
            name: (total / self.weight).to(dtypes[name]).cpu()
            if dtypes[name].is_floating_point
            else total.cpu().clone()
            for name, total in self.arrays[record].items()
        }

    def __getstate__(self) -> dict[str, Any]:
        """Travels as NumPy arrays, which a shared memory can hold."""
        arrays = {
            record: {name: tensor.cpu().contiguous().numpy() for name, tensor in tensors.items()}
            for record, tensors in self.arrays.items()
        }
        return self.__dict__ | {"arrays": arrays}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Takes over arrays that may be read-only."""
        self.__dict__.update(state)
        self.arrays = {
            record: {name: as_tensor(array) for name, array in arrays.items()}
            for record, arrays in state["arrays"].items()
        }
        self._own = False


class PairwiseSums:
    """Sums of runs of clients, merged with their neighbours as these come in.

    Clients have places 0, 1, ...; a run covers as many places as a power of two, beginning at a
    multiple of it, and two runs that make up a longer one are merged. In which order numbers are
    added therefore depends on the places alone: not on who came first, nor on how many places were
    merged elsewhere before they came.
    """

    def __init__(self) -> None:
        self.runs: dict[tuple[int, int], WeightedSum | None] = {}
        """(first place, places) -> the sum, or None if nobody there gave an update."""

    def add(self, start: int, places: int, total: WeightedSum | None) -> None:
        """Takes in a run.

        Args:
            start: Its first place, a multiple of `places`.
            places: How many it covers, a power of two.
            total: The sum over it, which may be written to; None if it is empty.
        """
        while (start ^ places, places) in self.runs:
            neighbour = self.runs.pop((start ^ places, places))
            pair = (neighbour, total) if start & places else (total, neighbour)
            total = merged(*pair)
            start &= ~places
            places *= 2
        self.runs[start, places] = total

    def take(self, others: PairwiseSums) -> None:
        """Takes in runs that were merged elsewhere."""
        for (start, places), total in others.runs.items():
            self.add(start, places, total)

    def total(self) -> WeightedSum | None:
        """The sum of all runs, added in the order of places; to be taken once."""
        total = None
        for _, run in sorted(self.runs.items(), key=lambda item: item[0]):
            total = merged(total, run)
        return total


def sum_of_stack(stack: torch.Tensor, weights: Sequence[float]) -> torch.Tensor:
    """The weighted sum over the first axis, in double precision, as `WeightedSum.add` makes it."""
    first, *others = stack.unbind()
    total = _weighted(first, weights[0])
    _accumulate(total, others, weights[1:])
    return total


def merged(first: WeightedSum | None, second: WeightedSum | None) -> WeightedSum | None:
    """The sum of two, either of which may be empty; the first one's memory may be used for it."""
    if first is None or second is None:
        return first or second
    return first.merge(second)


def _weighted(values: torch.Tensor, weight: float) -> torch.Tensor:
    """A sum of one; its own memory, in the same order."""
    if not values.is_floating_point():
        return values.clone()
    total = values.to(torch.float64, copy=True)
    return total if weight == 1 else total.mul_(weight)


def _accumulate(
    total: torch.Tensor, values: Sequence[torch.Tensor], weights: Sequence[float]
) -> None:
    """Adds weighted values to a sum, one after the other; of integers it keeps the largest."""
    if not values:
        return
    if not values[0].is_floating_point():
        for value in values:
            torch.maximum(total, value, out=total)
        return
    if total.is_cuda or total.numel() < SMALL or any(v.stride() != total.stride() for v in values):
        for value, weight in zip(values, weights, strict=True):
            total.add_(value, alpha=weight)
        return
    # PyTorch adds mixed types on a CPU at half the speed of converting and then adding; and a part
    # of the sum stays in the cache until all clients are in it.
    buffer = torch.empty(min(CACHED, total.numel()), dtype=total.dtype)
    pieces = [_flat(value).split(CACHED) for value in values]
    for index, part in enumerate(_flat(total).split(CACHED)):
        converted = buffer[: len(part)]
        for piece, weight in zip(pieces, weights, strict=True):
            part.add_(converted.copy_(piece[index]), alpha=weight)


def _flat(tensor: torch.Tensor) -> torch.Tensor:
    """A dense tensor's values in the order of memory (tensors may be channels-last)."""
    return tensor.as_strided((tensor.numel(),), (1,))


def _same_names(sums: Mapping[str, Tensors], update: Mapping[str, Tensors]) -> None:
    same = sums.keys() == update.keys()
    if not same or any(sums[record].keys() != update[record].keys() for record in sums):
        raise ValueError("clients sent different sets of tensors; the method must drop the same")
