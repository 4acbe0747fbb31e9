"""How samples are read in batches, pass after pass: numbers alone, for planning and for drawing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, chain, islice, repeat
from typing import Literal

import torch

from fedlab.training.spec import Remainder

BatchSize = int | Literal["full"]


@dataclass(frozen=True)
class Passes:
    """Passes over some samples, each in an order of its own.

    Attributes:
        sizes: Samples of every batch of one pass.
        steps: Batches in all passes together.
    """

    sizes: tuple[int, ...]
    steps: int

    @classmethod
    def over(
        cls,
        rows: int,
        batch_size: BatchSize,
        *,
        epochs: int = 1,
        steps: int | None = None,
        remainder: Remainder = "keep",
        smallest: int = 1,
    ) -> Passes:
        """The passes over so many samples.

        Args:
            rows: How many samples there are; none give no step.
            batch_size: Samples of a batch; where there are fewer in all, they are one batch.
            epochs: Passes.
            steps: Batches in all instead of passes, from as many passes as needed.
            remainder: What becomes of the samples that are left when a pass has no full batch
                more: a batch of their own (``keep``), none (``drop``), or part of the batch before
                (``merge``).
            smallest: Fewer samples than this are no batch of their own, unless there are no others
                (batch normalisation cannot train on a single sample).
        """
        size = rows if batch_size == "full" else min(batch_size, rows)
        full, rest = divmod(rows, size) if rows else (0, 0)
        sizes = [size] * full
        if rest and remainder == "merge":
            sizes[-1] += rest
        elif remainder == "keep" and rest >= smallest:
            sizes.append(rest)
        taken = epochs * len(sizes) if steps is None else steps
        return cls(tuple(sizes), taken if sizes else 0)

    @property
    def samples(self) -> int:
        """Samples read in all batches together."""
        if not self.sizes:
            return 0
        whole, more = divmod(self.steps, len(self.sizes))
        return whole * sum(self.sizes) + [0, *accumulate(self.sizes)][more]

    def draw(self, rows: torch.Tensor, generator: torch.Generator) -> Iterator[torch.Tensor]:
        """The samples of every batch, int64, out of `rows`, in an order drawn for every pass."""
        left, taken, sizes = self.steps, sum(self.sizes), list(self.sizes)
        while left > 0:
            order = rows[torch.randperm(rows.shape[0], generator=generator)]
            parts = order[:taken].split(sizes)
            yield from parts[:left]
            left -= len(parts)


@dataclass(frozen=True)
class PhasePlan:
    """What a client reads in one phase of a round.

    Attributes:
        own: The passes over the samples of the phase's split.
        beside: Those over the unlabelled samples that are read with them, step by step.
        examples: Distinct samples that may be read.
    """

    own: Passes
    beside: Passes
    examples: int

    @property
    def steps(self) -> int:
        """Optimiser steps."""
        return max(self.own.steps, self.beside.steps)

    @property
    def samples(self) -> int:
        """Samples read in all steps together."""
        return self.own.samples + self.beside.samples

    def draw(
        self, rows: torch.Tensor, beside: torch.Tensor, generator: torch.Generator
    ) -> Iterator[torch.Tensor]:
        """The samples of every step, those beside the others behind them."""
        if not self.beside.steps:
            yield from self.own.draw(rows, generator)
            return
        nothing = repeat(rows[:0])
        first = list(self.own.draw(rows, generator))
        second = self.beside.draw(beside, generator)
        pairs = zip(chain(first, nothing), chain(second, nothing), strict=True)  # without an end
        for parts in islice(pairs, self.steps):
            yield torch.cat(parts)
