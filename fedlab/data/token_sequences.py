"""Generated sequences of ids whose class depends on the order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field, PositiveInt, model_validator

from fedlab import rng
from fedlab.data.ids import Ids
from fedlab.data.samples import Domain
from fedlab.data.source import LoadContext, Source

PAD = 0


class TokenIds(Source):
    """Sequences with two different marks in them; the class is the mark that comes first.

    Id 0 fills up, the ids from 1 on are the marks, one a class, and all others say nothing. A
    domain has its own frequencies of these others and its own mean length. A classifier that only
    counts ids is right half of the time at best. Classes are balanced.

    Attributes:
        domains: Number of domains, which are called ``topic 1`` and so on.
        classes: Number of marks.
        vocabulary: Number of ids.
        length: Ids of a sequence, filled up.
        train_per_domain: Training sequences of each domain.
        test_per_domain: Test sequences of each domain.
    """

    name: Literal["token_ids"] = "token_ids"
    domains: PositiveInt = 4
    classes: int = Field(default=4, ge=2)
    vocabulary: PositiveInt = 100
    length: int = Field(default=16, ge=4)
    train_per_domain: PositiveInt = 1000
    test_per_domain: PositiveInt = 250

    @model_validator(mode="after")
    def _has_other_ids(self) -> TokenIds:
        if self.vocabulary < self.classes + 2:
            raise ValueError(
                f"vocabulary {self.vocabulary} has no id left beside what fills up and "
                f"{self.classes} marks; give at least {self.classes + 2}"
            )
        return self

    @property
    def vocabulary_is_fixed(self) -> bool:
        """See `Source.vocabulary_is_fixed`."""
        return True

    def names(self, context: LoadContext) -> Sequence[str]:
        """See `Source.names`."""
        return [f"topic {place + 1}" for place in range(self.domains)]

    def load(self, context: LoadContext) -> Sequence[Domain]:
        """Generates all sequences, int64 of shape (n, length)."""
        shape = (self.train_per_domain + self.test_per_domain, self.length)
        context.limits.check_array(shape, 8, f"{context.key}: the sequences of a domain")
        return [self._domain(name, context) for name in self.names(context)]

    def _domain(self, name: str, context: LoadContext) -> Domain:
        own = rng.generator(context.seed, "token ids", name, "domain")
        frequencies = own.dirichlet(np.full(self.vocabulary - 1 - self.classes, 0.3))
        shortest = int(own.integers(3, self.length))

        def draw(split: str, count: int) -> tuple[np.ndarray, np.ndarray]:
            draws = rng.generator(context.seed, "token ids", name, split)
            labels = draws.permutation(np.arange(count) % self.classes)
            others = 1 + self.classes + np.arange(len(frequencies))
            ids = draws.choice(others, (count, self.length), p=frequencies)
            for row, label in zip(ids, labels, strict=True):
                there = int(draws.integers(shortest, self.length + 1))
                first, second = np.sort(draws.choice(there, 2, replace=False))
                row[first] = 1 + label
                row[second] = 1 + (label + draws.integers(1, self.classes)) % self.classes
                row[there:] = PAD
            return ids.astype(np.int64), labels.astype(np.int64)

        train = draw("train", self.train_per_domain)
        test = draw("test", self.test_per_domain)
        names = tuple(f"mark {place + 1}" for place in range(self.classes))
        return Domain(name, *train, *test, names, ids=Ids(vocabulary=self.vocabulary, pad=PAD))
