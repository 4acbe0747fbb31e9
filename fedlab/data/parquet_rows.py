"""The rows of all Parquet files of a source, on their way to domains."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fedlab.data.class_names import normal
from fedlab.data.csv_reader import Table
from fedlab.data.parquet_file import File
from fedlab.errors import InputError


@dataclass(frozen=True)
class FileRows:
    """The rows of all files, whose features have not been read.

    Attributes:
        files: The files, in the order of their rows.
        tested: Which rows are the test split, bool of shape (n,); None where none is given.
        owners: Names of the owners of the rows; None without.
        domains: Names of their domains, text of shape (n,).
    """

    files: Sequence[File]
    tested: np.ndarray | None
    owners: list[str] | None
    domains: np.ndarray

    def features(
        self, names: Sequence[str], categorical: Sequence[str]
    ) -> tuple[np.ndarray, dict[str, list[str]]]:
        """The features, float64 of shape (n, columns), and the texts of the categorical ones.

        Raises:
            InputError: If a column holds something else than numbers.
        """
        columns: list[np.ndarray] = []
        texts: dict[str, list[str]] = {}
        for name in names:
            if name not in categorical:
                columns.append(np.concatenate([file.numbers(name) for file in self.files]))
                continue
            places: dict[str, int] = {}
            parts: list[np.ndarray] = []
            for values, own in (file.categories(name) for file in self.files):
                place = np.array([places.setdefault(text, len(places)) for text in own] or [0])
                known = ~np.isnan(values)
                values[known] = place[values[known].astype(np.int64)]
                parts.append(values)
            texts[name] = list(places)
            columns.append(np.concatenate(parts))
        return np.stack(columns, axis=1), texts

    def tables(
        self,
        features: np.ndarray,
        names: list[str],
        categories: dict[str, list[str]],
        labels: Sequence[str],
    ) -> dict[str, Table]:
        """A table for each domain, in the order in which they occur."""
        tables: dict[str, Table] = {}
        for name in dict.fromkeys(self.domains.tolist()):
            own: list[int] = np.flatnonzero(self.domains == name).tolist()
            tables[name] = Table(
                names,
                features[own],
                [labels[row] for row in own],
                self.owners and [self.owners[row] for row in own],
                categories,
                tested=None if self.tested is None else self.tested[own],
            )
        return tables


def column_of(files: Sequence[File], column: str | None, what: str) -> list[str] | None:
    """The texts of a column of all files."""
    if column is None:
        return None
    return [cell for file in files for cell in file.texts(column, what)]


def declared_classes(
    names: tuple[str, ...] | None, found: np.ndarray, key: str
) -> tuple[str, ...] | None:
    """The class names of the files' metadata, for labels that are places among them.

    Args:
        names: The names, if there are some.
        found: The different labels, as text.
        key: Key of the source in the scenario.

    Raises:
        InputError: If a label is no place among them, or a name stands there twice.
    """
    if names is None:
        return None
    places = [int(each) for each in found if str(each).lstrip("-").isdigit()]
    if len(places) < len(found):
        return None
    if places and (min(places) < 0 or max(places) >= len(names)):
        raise InputError(
            f"{key}.label: the labels go from {min(places)} to {max(places)}, and the files name "
            f"{len(names)} classes; -1 marks samples without a label, which do not belong into a "
            "split"
        )
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise InputError(f"{key}.label: the files name the class '{twice[0]}' twice")
    return tuple(map(normal, names))
