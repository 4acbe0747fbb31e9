"""Batch sizes and orders of passes over samples, for planning and for drawing batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import chain, zip_longest
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

    @cached_property
    def every_size(self) -> tuple[int, ...]:
        """Size of every batch of all passes."""
        whole, more = divmod(self.steps, len(self.sizes)) if self.sizes else (0, 0)
        return self.sizes * whole + self.sizes[:more]

    @cached_property
    def samples(self) -> int:
        """Samples read in all batches together."""
        return sum(self.every_size)

    def draw(self, rows: int, generator: torch.Generator) -> torch.Tensor:
        """The samples of all batches, in an order drawn for every pass.

        Args:
            rows: Number of samples to draw from.
            generator: Is advanced.

        Returns:
            Their places among all, int64 of shape (`samples`,).
        """
        left, of_pass = self.samples, sum(self.sizes)
        passes: list[torch.Tensor] = []
        while left > 0:
            order = torch.randperm(rows // self.unit, generator=generator)
            if self.unit > 1:
                order = (order.unsqueeze(1) * self.unit + torch.arange(self.unit)).flatten()
            read = min(left, of_pass)
            passes.append(order if read == rows else order[:read])
            left -= read
        return joined(passes)


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

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Samples of every step, with those of `beside`."""
        if not self.beside.steps:
            return self.own.every_size
        pairs = zip_longest(self.own.every_size, self.beside.every_size, fillvalue=0)
        return tuple(map(sum, pairs))

    def together(self, own: torch.Tensor, beside: torch.Tensor) -> torch.Tensor:
        """The samples of all steps, in each with those of `beside` last.

        Args:
            own: Those of the phase's split, in the order of the steps.
            beside: The unlabelled ones.
        """
        if not self.beside.steps:
            return own
        first = own.split_with_sizes(self.own.every_size)
        second = beside.split_with_sizes(self.beside.every_size)
        return joined([*chain(*zip_longest(first, second, fillvalue=own[:0]))])


def joined(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """Rows, one part after the other."""
    if len(parts) == 1:
        return parts[0]
    return torch.cat(list(parts)) if parts else torch.empty(0, dtype=torch.int64)
