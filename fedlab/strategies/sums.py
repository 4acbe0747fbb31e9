"""Weighted sums of updates, in double precision, that can be made in parts wherever clients run."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from fedlab.records import Tensors

CACHED = 2**16
"""Values whose double-precision copies stay in a core's cache while they are added."""


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

    def add(self, update: Mapping[str, Tensors], weight: float) -> None:
        """Takes in one client's update, which stays as it is.

        Args:
            update: Its tensors by record and name.
            weight: What it counts.

        Raises:
            ValueError: If it has other names than those before.
        """
        if not self.clients:
            self.dtypes = {r: {n: t.dtype for n, t in ts.items()} for r, ts in update.items()}
            self.arrays = {r: {n: _zeros(t) for n, t in ts.items()} for r, ts in update.items()}
        _same_names(self.arrays, update)
        for record, tensors in update.items():
            for name, tensor in tensors.items():
                total = self.arrays[record][name]
                if tensor.is_floating_point():
                    _accumulate(total, tensor, weight)
                elif self.clients:
                    torch.maximum(total, tensor, out=total)
                else:
                    total.copy_(tensor)
        self.weight += weight
        self.clients += 1

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
            record: {name: _view(array) for name, array in arrays.items()}
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


def merged(first: WeightedSum | None, second: WeightedSum | None) -> WeightedSum | None:
    """The sum of two, either of which may be empty; the first one's memory may be used for it."""
    if first is None or second is None:
        return first or second
    return first.merge(second)


def _zeros(tensor: torch.Tensor) -> torch.Tensor:
    return torch.zeros_like(tensor, dtype=torch.float64 if tensor.is_floating_point() else None)


def _accumulate(total: torch.Tensor, values: torch.Tensor, weight: float) -> None:
    """Adds weighted values to a sum of double precision."""
    if total.is_cuda or total.stride() != values.stride():
        total.add_(values, alpha=weight)
        return
    # PyTorch adds mixed types on a CPU at half the speed of converting and then adding.
    buffer = torch.empty(min(CACHED, total.numel()), dtype=total.dtype)
    for part, new in zip(_flat(total).split(CACHED), _flat(values).split(CACHED), strict=True):
        part.add_(buffer[: len(new)].copy_(new), alpha=weight)


def _flat(tensor: torch.Tensor) -> torch.Tensor:
    """A dense tensor's values in the order of memory (tensors may be channels-last)."""
    return tensor.as_strided((tensor.numel(),), (1,))


def _view(array: np.ndarray) -> torch.Tensor:
    """A tensor over memory that may be read-only."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)


def _same_names(sums: Mapping[str, Tensors], update: Mapping[str, Tensors]) -> None:
    same = sums.keys() == update.keys()
    if not same or any(sums[record].keys() != update[record].keys() for record in sums):
        raise ValueError("clients sent different sets of tensors; the method must drop the same")
