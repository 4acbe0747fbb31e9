"""Test inputs that stay in their files until a batch of them is tested."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from fedlab.accelerator import moved
from fedlab.data.mapped_pool import MappedPool
from fedlab.records import as_tensor


@dataclass(frozen=True)
class Unread:
    """Samples of a pool, read batch by batch: a domain's test set may be larger than the memory.

    Attributes:
        pool: The pool.
        rows: Their indices in it, int64 of shape (n,).
        device: Where batches are wanted.
    """

    pool: MappedPool
    rows: np.ndarray
    device: torch.device

    @property
    def nbytes(self) -> int:
        """Bytes of memory that it takes: those of the indices."""
        return self.rows.nbytes

    def __getitem__(self, batch: slice) -> torch.Tensor:
        """A batch of inputs, shape (batch, ...)."""
        return moved(as_tensor(self.pool[self.rows[batch]]), self.device)


TestInputs = torch.Tensor | Unread


def joined(parts: Sequence[TestInputs]) -> TestInputs:
    """Inputs one after the other, all of one pool."""
    unread = [part for part in parts if isinstance(part, Unread)]
    if unread:
        return replace(unread[0], rows=np.concatenate([part.rows for part in unread]))
    return torch.cat([part for part in parts if isinstance(part, torch.Tensor)])
