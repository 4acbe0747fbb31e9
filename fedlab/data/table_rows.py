"""The rows of tables, or of the pictures that they name, between files and domains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from fedlab import rng
from fedlab.data.owners import OwnerSplit, numbered, owned
from fedlab.data.samples import Domain
from fedlab.data.source import LoadContext
from fedlab.data.stratify import split_domain


class Rows(NamedTuple):
    """The rows of a file or a domain.

    Attributes:
        inputs: Features, float64 of shape (n, features), or images as those of `Samples`.
        labels: Class indices, shape (n,), or the numbers that are learnt, (n, columns).
        owners: Names of their owners, if they have some.
        tested: Which are the test split, bool of shape (n,), where one is given.
    """

    inputs: np.ndarray
    labels: np.ndarray
    owners: Sequence[str] | None
    tested: np.ndarray | None = None

    def whole(self) -> tuple[Rows, int]:
        """The rows without a missing value, and the number of the others."""
        whole = np.flatnonzero(~np.isnan(self.inputs).any(axis=1))
        return self.take(whole), len(self.labels) - len(whole)

    def take(self, rows: np.ndarray) -> Rows:
        """Some of the rows.

        Args:
            rows: Their positions, int64 of shape (n,).
        """
        return Rows(
            self.inputs[rows],
            self.labels[rows],
            self.owners and [self.owners[int(row)] for row in rows],
            None if self.tested is None else self.tested[rows],
        )

    def domain(
        self,
        name: str,
        class_names: tuple[str, ...],
        test_share: float,
        context: LoadContext,
        how: OwnerSplit,
    ) -> Domain:
        """A domain of these rows, with their own split, or else split by the source's settings.

        Args:
            name: The domain's name.
            class_names: Names of the classes.
            test_share: Share of the rows that is tested, where no split is given.
            context: Gives the seed, and the source's key.
            how: How rows with owners are split.
        """
        where = f"{context.key}.owner: column of '{name}'"
        owners = numbered(self.owners, where) if self.owners else None
        if self.tested is None:
            dealing = rng.generator(context.seed, "split", name)
            rows = (self.inputs, self.labels, class_names, test_share, dealing)
            return split_domain(name, *rows, owners, how, context.target)
        train, test = np.flatnonzero(~self.tested), np.flatnonzero(self.tested)
        whole = Domain(
            name,
            self.inputs[train],
            self.labels[train],
            self.inputs[test],
            self.labels[test],
            class_names,
        )
        return owned(whole, owners and owners.take(np.concatenate([train, test])))


def of_owners(read: Mapping[str, Rows]) -> Rows:
    """The rows of all files together; each file is an owner."""
    return Rows(
        np.concatenate([rows.inputs for rows in read.values()]),
        np.concatenate([rows.labels for rows in read.values()]),
        [name for name, rows in read.items() for _ in rows.labels],
    )


def by_domain(read: Mapping[str, Rows], names: Sequence[str]) -> dict[str, Rows]:
    """The rows of all files by domain, in the order in which domains first occur.

    Args:
        read: The rows of each file; either all of them have owners, or none.
        names: The domain of each row, file after file.
    """
    files = list(read.values())
    together = Rows(
        np.concatenate([rows.inputs for rows in files]),
        np.concatenate([rows.labels for rows in files]),
        [name for rows in files for name in rows.owners or ()] or None,
    )
    of_rows = np.array(names)
    return {name: together.take(np.flatnonzero(of_rows == name)) for name in dict.fromkeys(names)}


def all_splits(domains: Sequence[Domain]) -> list[np.ndarray]:
    """Training and test features, domain after domain."""
    return [split for each in domains for split in (each.train_inputs, each.test_inputs)]


def with_inputs(domains: Sequence[Domain], splits: Sequence[np.ndarray]) -> list[Domain]:
    """The same domains with other features, in the order of `all_splits`."""
    return [
        replace(each, train_inputs=splits[2 * index], test_inputs=splits[2 * index + 1])
        for index, each in enumerate(domains)
    ]


def learnt(domains: Sequence[Domain], context: LoadContext) -> np.ndarray:
    """The training rows of all domains that are learnt from; where there is none, of all."""
    seen = [each.train_inputs for each in domains if context.learns_from(each.name)]
    return np.concatenate(seen or [each.train_inputs for each in domains])
