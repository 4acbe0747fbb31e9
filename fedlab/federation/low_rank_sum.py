"""Sums of dense layers' weights in low-rank form.

Plain SGD leaves a dense layer with weights k W_0 + Aᵀ X (see `fedlab.engine.execution.low_rank`).
If only the sum over clients is needed, no client's own weights are formed: the sum has the same
form, with the rows of all clients, and one matrix product evaluates it.
"""

from __future__ import annotations

from typing import Any

import torch

from fedlab.federation.float64 import accumulate, weighted
from fedlab.records import as_tensor

ROWS = 128
"""Rows whose product takes a CPU about as long as adding their matrix to a sum; with more rows,
matrices are formed at once, in the process that has them."""


class LowRankSum:
    """A weighted sum of k W_0 + Aᵀ X over clients that started from the same W_0.

    Args:
        start: W_0, shape (outputs, inputs).
        keep: The sum of the clients' k, each times the client's weight.
        terms: For each client A, shape (rows, outputs), times the client's weight, and X, shape
            (rows, inputs).
    """

    def __init__(
        self, start: torch.Tensor, keep: float, terms: list[tuple[torch.Tensor, torch.Tensor]]
    ) -> None:
        self.start, self.keep, self.terms = start, keep, terms

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the clients' weights."""
        return self.start.dtype

    @property
    def large(self) -> bool:
        """Whether there are so many rows that forming the matrix takes no more time or memory."""
        return sum(len(rows) for _, rows in self.terms) >= min(ROWS, len(self.start))

    def times(self, weight: float) -> LowRankSum:
        """The sum with each client's weight multiplied by `weight`."""
        terms = [(coefficients * weight, rows) for coefficients, rows in self.terms]
        return LowRankSum(self.start, self.keep * weight, terms)

    def joined(self, other: LowRankSum) -> LowRankSum:
        """The sum over the clients of both, this one's first."""
        return LowRankSum(self.start, self.keep + other.keep, self.terms + other.terms)

    def formed(self) -> torch.Tensor:
        """The sum as a new matrix, float64, shape (outputs, inputs)."""
        (coefficients, rows), *others = self.terms
        moved = coefficients.t() @ rows
        for coefficients, rows in others:
            moved.addmm_(coefficients.t(), rows)
        total = weighted(self.start, self.keep)
        accumulate(total, [moved], [1.0])
        return total

    def __getstate__(self) -> dict[str, Any]:
        """State as NumPy arrays, which Ray's object store shares without copies."""
        terms = [tuple(tensor.cpu().numpy() for tensor in term) for term in self.terms]
        return {"start": self.start.cpu().numpy(), "keep": self.keep, "terms": terms}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restores tensors from arrays that may be read-only."""
        self.start, self.keep = as_tensor(state["start"]), state["keep"]
        self.terms = [(as_tensor(left), as_tensor(right)) for left, right in state["terms"]]
