"""Tables in CSV files, one domain a file: numeric columns become features."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field, FiniteFloat

from fedlab import rng
from fedlab.data.csv_reader import Format, Table, read_table
from fedlab.data.samples import Domain
from fedlab.data.source import LoadContext, Source
from fedlab.data.stratify import split_domain
from fedlab.errors import InputError

MANY_CLASSES = 10
"""So many different labels are taken for classes in the smallest of tables."""


class Csv(Source):
    """Tables of numbers, such as the records of several hospitals.

    A first row whose features are not numbers is a header. Features become float32; the device
    standardises them (``data.normalisation``).

    Attributes:
        files: The file of each domain, by the domain's name.
        label: Column of the labels: its name in the header, or its position (from 0, or from the
            end if negative).
        missing: Mark of a missing value; an empty cell and ``nan`` are missing too.
        positive_above: Makes two classes of a numeric label: whether it is above this number.
        impute: What stands in for missing values: the feature's ``median`` or ``mean`` over the
            training rows of all files but those of unseen domains; ``drop`` leaves the row out.
        test_share: Share of a domain's rows that become its test split, stratified by class.
        class_names: Names of the classes, in the order of the sorted labels; by default the
            labels themselves.
        delimiter: What separates the cells.
    """

    name: Literal["csv"] = "csv"
    files: dict[str, Path] = Field(min_length=1)
    label: int | str = -1
    missing: str = "?"
    positive_above: FiniteFloat | None = None
    impute: Literal["median", "mean", "drop"] = "median"
    test_share: float = Field(default=0.2, gt=0, lt=1)
    class_names: tuple[str, ...] | None = Field(default=None, min_length=1)
    delimiter: str = Field(default=",", min_length=1, max_length=1)

    def load(self, context: LoadContext) -> Sequence[Domain]:
        """Reads all files, splits each, and fills in what is missing.

        Raises:
            InputError: If a file cannot be read, files have different columns, labels are not
                classes, or a feature has no value at all.
        """
        format = Format(self.label, self.missing, self.delimiter)
        tables = {
            name: read_table(context.locate(path), f"{context.key}.files.{name}", format)
            for name, path in self.files.items()
        }
        columns = next(iter(tables.values())).columns
        codes, class_names = self._classes(tables, context)
        domains = []
        for name, table in tables.items():
            features = _in_order(table, columns, f"{context.key}.files.{name}")
            labels = np.array([codes[cell] for cell in table.labels], np.int64)
            if self.impute == "drop":
                whole = ~np.isnan(features).any(axis=1)
                features, labels = features[whole], labels[whole]
                if not len(labels):
                    raise InputError(
                        f"{context.key}.impute is 'drop', but no row of domain '{name}' is "
                        "complete; use 'median' or 'mean'"
                    )
            dealing = rng.generator(context.seed, "split", name)
            domains.append(
                split_domain(name, features, labels, class_names, self.test_share, dealing)
            )
        return self._filled(domains, columns, context)

    def _classes(
        self, tables: dict[str, Table], context: LoadContext
    ) -> tuple[dict[str, int], tuple[str, ...]]:
        """The class index of every label cell of all files, and the names of the classes."""
        cells = sorted({cell for table in tables.values() for cell in table.labels})
        rows = sum(len(table.labels) for table in tables.values())
        if self.positive_above is None and len(cells) > max(MANY_CLASSES, rows / 2):
            raise InputError(
                f"{context.key}.label: the labels are {len(cells)} different values in {rows} "
                f"rows ({', '.join(cells[:3])}, ...), which are no classes; name another column "
                "as label, or set positive_above to make two classes of a measurement"
            )
        try:
            numbers = {cell: float(cell) for cell in cells}
        except ValueError as error:
            if self.positive_above is not None:
                raise InputError(
                    f"{context.key}.positive_above needs numeric labels ({error}); leave it out"
                ) from error
            codes, names = {cell: index for index, cell in enumerate(cells)}, tuple(cells)
        else:
            codes, names = self._numeric_classes(numbers, context)
        if self.class_names is not None and len(self.class_names) != len(names):
            raise InputError(
                f"{context.key}.class_names gives {len(self.class_names)} names, but the labels "
                f"make {len(names)} classes ({', '.join(names[:10])}); name each of them"
            )
        return codes, self.class_names or names

    def _numeric_classes(
        self, numbers: dict[str, float], context: LoadContext
    ) -> tuple[dict[str, int], tuple[str, ...]]:
        """As `_classes`, for labels that are numbers: 1 and 1.0 are the same class."""
        threshold = self.positive_above
        if threshold is not None:
            codes = {cell: int(number > threshold) for cell, number in numbers.items()}
            return codes, (f"<= {threshold:g}", f"> {threshold:g}")
        for number in numbers.values():
            if not number.is_integer():
                raise InputError(
                    f"{context.key}.label: the labels hold {number:g}, which is no class; correct "
                    "label, or set positive_above to make two classes of a measurement"
                )
        values = sorted(set(numbers.values()))
        codes = {cell: values.index(number) for cell, number in numbers.items()}
        return codes, tuple(str(int(value)) for value in values)

    def _filled(
        self, domains: list[Domain], columns: list[str], context: LoadContext
    ) -> list[Domain]:
        """The same domains with float32 features and without missing values."""
        seen = [each.train_inputs for each in domains if each.name not in context.unseen_domains]
        pooled = np.concatenate(seen or [each.train_inputs for each in domains])
        absent = np.flatnonzero(np.isnan(pooled).all(axis=0))
        if len(absent):
            raise InputError(
                f"{context.key}.files: no training row has a value for {columns[absent[0]]}; "
                "remove that column from all files"
            )
        middle = np.nanmean(pooled, 0) if self.impute == "mean" else np.nanmedian(pooled, 0)

        def fill(features: np.ndarray) -> np.ndarray:
            with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused
                return np.where(np.isnan(features), middle, features).astype(np.float32)

        return [
            Domain(
                each.name,
                fill(each.train_inputs),
                each.train_labels,
                fill(each.test_inputs),
                each.test_labels,
                each.class_names,
            )
            for each in domains
        ]


def _in_order(table: Table, columns: list[str], key: str) -> np.ndarray:
    """The features of a file in the order of the first file's columns."""
    if sorted(table.columns) != sorted(columns):
        odd = sorted(set(table.columns) ^ set(columns)) or ["a repeated name"]
        raise InputError(
            f"{key}: its columns are not those of the first file (they differ in "
            f"{', '.join(odd)}); give all files the same columns"
        )
    if table.columns == columns:
        return table.features
    return table.features[:, [table.columns.index(name) for name in columns]]
