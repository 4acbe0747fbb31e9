"""A pool of samples in the order that skews work on: by domain and class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fedlab.data.samples import FederatedData, Samples
from fedlab.data.stratify import shuffled_groups


@dataclass(frozen=True)
class Pool:
    """Samples sorted by domain, then by class; in random order within each such cell.

    Generators write the owner of each sample into an array aligned with `order`; a cell or a
    domain is then one slice of it.

    Attributes:
        order: Indices into the samples, int64 of shape (n,).
        counts: Samples in each cell, int64 of shape (domains, classes).
        domain_names: Names by domain index, for messages.
    """

    order: np.ndarray
    counts: np.ndarray
    domain_names: tuple[str, ...]

    @classmethod
    def of(
        cls, samples: Samples, data: FederatedData, seen: np.ndarray, rng: np.random.Generator
    ) -> Pool:
        """Sorts the samples of the domains that clients may see.

        Args:
            samples: The training or the test samples of `data`.
            data: Gives the numbers of domains and classes (strata of other targets).
            seen: Whether each domain takes part, bool of shape (domains,).
            rng: Shuffles within the cells.
        """
        domains, classes = len(data.domain_names), len(data.strata_names)
        # Small integers let NumPy sort in linear time.
        kind = np.int16 if domains * classes <= np.iinfo(np.int16).max else np.int64
        cells = (samples.domains * classes + data.strata(samples)).astype(kind)
        taken = np.flatnonzero(seen[samples.domains])
        order = taken[shuffled_groups(cells[taken], rng)]
        counts = np.bincount(cells[taken], minlength=domains * classes)
        return cls(order, counts.reshape(domains, classes), data.domain_names)

    def __len__(self) -> int:
        return len(self.order)

    @property
    def domain_sizes(self) -> np.ndarray:
        """Samples of each domain, int64 of shape (domains,)."""
        return self.counts.sum(axis=1)

    @property
    def edges(self) -> np.ndarray:
        """Bounds of the cells: cell (d, c) spans edges[i : i + 2], i = d * classes + c."""
        return np.concatenate([[0], np.cumsum(self.counts)])

    def domain(self, domain: int | np.integer) -> slice:
        """The slice of `order` that holds a domain's samples, class after class."""
        edges = np.concatenate([[0], np.cumsum(self.domain_sizes)])
        return slice(edges[domain], edges[domain + 1])

    @property
    def cells(self) -> np.ndarray:
        """The cell d * classes + c of each sample, aligned with `order`."""
        return np.repeat(np.arange(self.counts.size), self.counts.ravel())

    def unowned(self) -> np.ndarray:
        """Owners, int64 (n,), aligned with `order`: -1 (no client) for every sample."""
        return np.full(len(self), -1, dtype=np.int64)
