"""Weighted sums of updates in float64, which can be made in parts by several processes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch

from fedlab.federation.float64 import accumulate, weighted
from fedlab.federation.low_rank_sum import LowRankSum
from fedlab.records import Tensors, as_tensor

Summands = dict[str, "torch.Tensor | LowRankSum"]
"""Named tensors, or dense layers' weights in low-rank form."""


class WeightedSum:
    """The sum of weight times update over some clients.

    For integer tensors (a batch normalisation's step counter) the largest is kept; for tensors
    whose mean is meaningless, that of the last client with a positive weight.

    Args:
        kept: Names of the latter.

    Attributes:
        weight: Sum of the weights.
        clients: Number of clients in it.
        arrays: The sums by record and name, float64, on the device of the updates; those of layers
            in low-rank form may be `LowRankSum` until the sum is complete.
        dtypes: Dtypes of the mean, by record and name.
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
        """A sum from its parts.

        Args:
            arrays: The sums by record and name, float64.
            dtypes: Dtypes of the mean, by record and name.
            weights: Each client's weight.
        """
        total = cls()
        total.arrays, total.dtypes = arrays, dtypes
        total.weight, total.clients = sum(weights), len(weights)
        return total

    def add(
        self, updates: Sequence[Mapping[str, Mapping[str, Any]]], weights: Sequence[float]
    ) -> None:
        """Adds clients' updates in this order; they are not changed.

        Args:
            updates: Each client's tensors by record and name, or `LowRankSum` weights.
            weights: Each client's weight.

        Raises:
            ValueError: If their names differ from each other's, or from those before.
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
        """The sum of both, in this one's memory where possible.

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
        """The sums by record and name, with `LowRankSum` evaluated in place."""
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
        """State as NumPy arrays, which Ray's object store shares without copies."""
        arrays = {
            record: {
                name: value if isinstance(value, LowRankSum) else value.cpu().contiguous().numpy()
                for name, value in tensors.items()
            }
            for record, tensors in self.arrays.items()
        }
        return self.__dict__ | {"arrays": arrays}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restores tensors from arrays that may be read-only."""
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
    """The sum of one client, in new memory with the same strides."""
    if isinstance(value, LowRankSum):
        return _small(value.times(weight))
    return weighted(value, weight) if value.is_floating_point() else value.clone()


def _together(first: Any, second: Any, writable: bool = True) -> Any:
    """The sum of both, in the memory of the first if it is writable."""
    if isinstance(first, LowRankSum) and isinstance(second, LowRankSum):
        return _small(first.joined(second))
    writable &= not isinstance(first, LowRankSum)
    first, second = _formed(first), _formed(second)
    add = torch.add if first.is_floating_point() else torch.maximum
    return add(first, second, out=first if writable else None)


def _small(value: LowRankSum) -> Any:
    """The sum, as a matrix if it has many rows."""
    return value.formed() if value.large else value


def _formed(value: Any) -> torch.Tensor:
    return value.formed() if isinstance(value, LowRankSum) else value


def _same_names(
    sums: Mapping[str, Mapping[str, Any]], update: Mapping[str, Mapping[str, Any]]
) -> None:
    same = sums.keys() == update.keys()
    if not same or any(sums[record].keys() != update[record].keys() for record in sums):
        raise ValueError("clients sent different sets of tensors; the method must drop the same")
