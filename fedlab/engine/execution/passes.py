"""Batch sizes and orders of passes over samples, for planning and for drawing batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, chain, islice, repeat
from typing import Literal

import torch

from fedlab.training.spec import Remainder

BatchSize = int | Literal["full"]


@dataclass(frozen=True)
class Passes:
    """Passes over samples, each in a new random order.

    Attributes:
        sizes: Size of every batch of one pass.
        steps: Number of batches in all passes together.
        unit: Samples that stay together, one after the other; sizes are multiples of it.
    """

    sizes: tuple[int, ...]
    steps: int
    unit: int = 1

    @classmethod
    @lru_cache(maxsize=1024)  # most clients of a round have equally many samples as others
    def over(
        cls,
        rows: int,
        batch_size: BatchSize,
        *,
        epochs: int = 1,
        steps: int | None = None,
        remainder: Remainder = "keep",
        smallest: int = 1,
        unit: int = 1,
    ) -> Passes:
        """The passes over `rows` samples.

        Args:
            rows: Number of samples; 0 gives no step.
            batch_size: Samples of a batch; fewer samples in all are one batch.
            epochs: Number of passes.
            steps: Number of batches instead of passes, from as many passes as needed.
            remainder: Treatment of the samples after the last full batch of a pass: a smaller
                batch (``keep``), left out (``drop``), or added to the batch before (``merge``).
            smallest: With ``keep``, a smaller remainder than this is left out, unless there are no
                other samples (batch normalisation cannot train on a single sample).
            unit: Samples that stay together; `rows` and `batch_size` are multiples of it.
        """
        size = rows if batch_size == "full" else min(batch_size, rows)
        full, rest = divmod(rows, size) if rows else (0, 0)
        sizes = [size] * full
        if rest and remainder == "merge":
            sizes[-1] += rest
        elif remainder == "keep" and rest >= smallest:
            sizes.append(rest)
        taken = epochs * len(sizes) if steps is None else steps
        return cls(tuple(sizes), taken if sizes else 0, unit)

    @property
    def samples(self) -> int:
        """Samples read in all batches together."""
        if not self.sizes:
            return 0
        whole, more = divmod(self.steps, len(self.sizes))
        return whole * sum(self.sizes) + [0, *accumulate(self.sizes)][more]

    def draw(self, rows: torch.Tensor, generator: torch.Generator) -> Iterator[torch.Tensor]:
        """The samples of every batch, int64, out of `rows`, in an order drawn for every pass."""
        left, taken = self.steps, sum(self.sizes)
        while left > 0:
            units = rows.view(-1, self.unit)
            order = units[torch.randperm(units.shape[0], generator=generator)].flatten()
            whole = order if taken == rows.shape[0] else order[:taken]
            parts = whole.split_with_sizes(self.sizes)
            yield from parts[:left]
            left -= len(parts)


@dataclass(frozen=True)
class PhasePlan:
    """The samples that a client reads in one phase of a round.

    Attributes:
        own: The passes over the samples of the phase's split.
        beside: The passes over the unlabelled samples that are appended to each batch.
        examples: Number of distinct samples that may be read.
    """

    own: Passes
    beside: Passes
    examples: int

    @property
    def steps(self) -> int:
        """Batches; optimiser steps in a phase that learns."""
        return max(self.own.steps, self.beside.steps)

    @property
    def samples(self) -> int:
        """Samples read in all steps together."""
        return self.own.samples + self.beside.samples

    def draw(
        self, rows: torch.Tensor, beside: torch.Tensor, generator: torch.Generator
    ) -> Iterator[torch.Tensor]:
        """The samples of every step, with those of `beside` last."""
        if not self.beside.steps:
            return self.own.draw(rows, generator)
        return self._draw_both(rows, beside, generator)

    def _draw_both(
        self, rows: torch.Tensor, beside: torch.Tensor, generator: torch.Generator
    ) -> Iterator[torch.Tensor]:
        nothing = repeat(rows[:0])
        first = list(self.own.draw(rows, generator))
        second = self.beside.draw(beside, generator)
        pairs = zip(chain(first, nothing), chain(second, nothing), strict=True)  # infinite
        for parts in islice(pairs, self.steps):
            yield torch.cat(parts)
