"""Weighted sums of updates, in double precision, that can be made in parts wherever clients run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch

from fedlab.federation.float64 import accumulate, weighted
from fedlab.federation.low_rank_sum import LowRankSum
from fedlab.records import Tensors, as_tensor

Summands = dict[str, "torch.Tensor | LowRankSum"]
"""Named tensors, or weights that are known as a sum of products."""


class WeightedSum:
    """The sum of weight times update over some clients.

    Integer tensors (a batch normalisation's step counter) are not summed: the largest is kept. Nor
    are tensors whose mean means nothing: that of the last client that counts is kept.

    Args:
        kept: Names of the latter.

    Attributes:
        weight: Sum of the weights.
        clients: How many clients are in it.
        arrays: The sums by record and name, float64, where the updates were made; those of layers
            in low-rank form may be `LowRankSum` until the whole sum is there.
        dtypes: What the mean will be in, by record and name.
    """

    def __init__(self, kept: Iterable[str] = ()) -> None:
        self.kept = frozenset(kept)
        self.weight = 0.0
        self.clients = 0
        self.arrays: dict[str, Summands] = {}
        self.dtypes: dict[str, dict[str, torch.dtype]] = {}
        self._own = True  # whether the tensors may be written to

    @classmethod
    def of(
        cls,
        arrays: dict[str, Summands],
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

    def add(
        self, updates: Sequence[Mapping[str, Mapping[str, Any]]], weights: Sequence[float]
    ) -> None:
        """Takes in clients' updates, which stay as they are, in this order.

        Args:
            updates: The tensors of each by record and name, or `LowRankSum` weights.
            weights: What each of them counts.

        Raises:
            ValueError: If they have other names than each other, or than those before.
        """
        if not self.clients:
            first = updates[0]
            self.dtypes = {r: {n: t.dtype for n, t in ts.items()} for r, ts in first.items()}
            self.arrays = {
                r: {n: self._first(n, t, weights[0]) for n, t in ts.items()}
                for r, ts in first.items()
            }
            self.weight += weights[0]
            self.clients += 1
            updates, weights = updates[1:], weights[1:]
        for update in updates:
            _same_names(self.arrays, update)
        for record, tensors in self.arrays.items():
            for name, total in tensors.items():
                values = [update[record][name] for update in updates]
                if name in self.kept:
                    counting = [v for v, weight in zip(values, weights, strict=True) if weight > 0]
                    tensors[name] = [total, *counting][-1].clone()
                elif isinstance(total, LowRankSum):
                    for value, weight in zip(values, weights, strict=True):
                        tensors[name] = _together(tensors[name], _weighted(value, weight))
                else:
                    accumulate(total, values, weights)
        self.weight += sum(weights)
        self.clients += len(updates)

    def merge(self, other: WeightedSum) -> WeightedSum:
        """The sum of both; this one's memory is used for it where that is possible.

        Raises:
            ValueError: If they have different names.
        """
        _same_names(self.arrays, other.arrays)
        for record, tensors in self.arrays.items():
            for name, tensor in tensors.items():
                new = other.arrays[record][name]
                if name in self.kept:
                    tensors[name] = new if other.weight > 0 else tensor
                else:
                    tensors[name] = _together(tensor, new, writable=self._own)
        self._own = True
        self.weight += other.weight
        self.clients += other.clients
        return self

    def _first(self, name: str, value: Any, weight: float) -> Any:
        """The sum of one client's tensor."""
        return value.clone() if name in self.kept else _weighted(value, weight)

    def form(self) -> dict[str, Tensors]:
        """The sums by record and name, all of them formed from now on."""
        formed = {
            record: {name: _formed(value) for name, value in tensors.items()}
            for record, tensors in self.arrays.items()
        }
        self.arrays = {record: {**tensors} for record, tensors in formed.items()}
        return formed

    def mean(self, record: str) -> Tensors:
        """The weighted mean of one record, in the type the clients sent, on the CPU.

        Raises:
            ValueError: If the weights do not have a positive sum.
        """
        if not self.weight > 0:
            raise ValueError(f"the weights of {self.clients} updates sum to {self.weight}")
        sums, dtypes = self.form()[record], self.dtypes[record]
        return {
            name: (total / self.weight).to(dtypes[name]).cpu()
            if dtypes[name].is_floating_point and name not in self.kept
            else total.cpu().clone()
            for name, total in sums.items()
        }

    def __getstate__(self) -> dict[str, Any]:
        """Travels as NumPy arrays, which a shared memory can hold."""
        arrays = {
            record: {
                name: value if isinstance(value, LowRankSum) else value.cpu().contiguous().numpy()
                for name, value in tensors.items()
            }
            for record, tensors in self.arrays.items()
        }
        return self.__dict__ | {"arrays": arrays}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Takes over arrays that may be read-only."""
        self.__dict__.update(state)
        self.arrays = {
            record: {
                name: value if isinstance(value, LowRankSum) else as_tensor(value)
                for name, value in arrays.items()
            }
            for record, arrays in state["arrays"].items()
        }
        self._own = False


def _weighted(value: Any, weight: float) -> Any:
    """A sum of one; its own memory, in the same order."""
    if isinstance(value, LowRankSum):
        return _small(value.times(weight))
    return weighted(value, weight) if value.is_floating_point() else value.clone()


def _together(first: Any, second: Any, writable: bool = True) -> Any:
    """The sum of two, in the memory of the first if that may be written to."""
    if isinstance(first, LowRankSum) and isinstance(second, LowRankSum):
        return _small(first.joined(second))
    writable &= not isinstance(first, LowRankSum)
    first, second = _formed(first), _formed(second)
    add = torch.add if first.is_floating_point() else torch.maximum
    return add(first, second, out=first if writable else None)


def _small(value: LowRankSum) -> Any:
    """The sum as it is, as long as it has few rows."""
    return value.formed() if value.large else value


def _formed(value: Any) -> torch.Tensor:
    return value.formed() if isinstance(value, LowRankSum) else value


def _same_names(
    sums: Mapping[str, Mapping[str, Any]], update: Mapping[str, Mapping[str, Any]]
) -> None:
    same = sums.keys() == update.keys()
    if not same or any(sums[record].keys() != update[record].keys() for record in sums):
        raise ValueError("clients sent different sets of tensors; the method must drop the same")
