"""The rows of all Parquet files of a source, combined into domains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fedlab.data.class_names import check_given
from fedlab.data.csv_reader import Table
from fedlab.data.parquet_file import File
from fedlab.errors import InputError


@dataclass(frozen=True)
class FileRows:
    """The rows of all files, whose features have not been read yet.

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

    def picture(self, row: int) -> str:
        """The name of a row's picture in errors."""
        for file in self.files:
            if row < file.rows:
                return f"{file.where}: the image of row {row}"
            row -= file.rows
        raise IndexError(row)

    def check_columns(self, key: str) -> None:
        """Refuses files with other columns than the first, where all columns are read.

        Raises:
            InputError: With the columns in which they differ.
        """
        first, *others = self.files
        for file in others:
            odd = sorted({*file.schema.names} ^ {*first.schema.names})
            if odd:
                raise InputError(
                    f"{file.where}: its columns are not those of the first file (they differ in "
                    f"{', '.join(odd[:20])}); give all files the same columns, or name those that "
                    f"are features in {key}"
                )

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
                owners=self.owners and [self.owners[row] for row in own],
                categories=categories,
                tested=None if self.tested is None else self.tested[own],
            )
        return tables


def column_of(files: Sequence[File], column: str | None, what: str) -> list[str] | None:
    """The texts of a column of all files."""
    if column is None:
        return None
    return [cell for file in files for cell in file.texts(column, what)]


def declared_classes(
    files: Sequence[File], label: str, found: np.ndarray, key: str
) -> tuple[str, ...] | None:
    """The class names of the files' metadata, for labels that are their indices.

    Args:
        files: All files.
        label: The column of the labels.
        found: The different labels, as text.
        key: Key of the source in the scenario.

    Raises:
        InputError: If files name classes in different ways, a label is no place among them, or a
            name stands there twice.
    """
    places = [int(each) for each in found if str(each).lstrip("-").isdigit()]
    if len(places) < len(found):
        return None
    declared = {file.declared(label): file.where for file in files}
    declared.pop(None, None)
    if not declared:
        return None
    (names, _), *others = declared.items()
    if others or names is None:
        raise InputError(
            f"{others[0][1]} names other classes for '{label}' than the files before it do, so "
            f"that a number is not the same class in all of them; set {key}.class_names to those "
            "that are meant, or save the files anew"
        )
    if places and (min(places) < 0 or max(places) >= len(names)):
        raise InputError(
            f"{key}.label: the labels go from {min(places)} to {max(places)}, and the files name "
            f"{len(names)} classes; -1 marks samples without a label, which do not belong into a "
            "split"
        )
    return check_given(names, f"{key}.label: the metadata of the files")
