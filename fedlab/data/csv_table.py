"""Tables in CSV files, one domain a file: numeric columns become features."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field, FiniteFloat, field_validator

from fedlab import rng
from fedlab.data.class_names import check_given
from fedlab.data.csv_format import MISSING, Format
from fedlab.data.csv_reader import Table, read_table
from fedlab.data.csv_targets import label_columns, taken_out
from fedlab.data.labels import classes_of, split_at
from fedlab.data.named_files import Files, left_out, named
from fedlab.data.remarks import counted, listed
from fedlab.data.samples import Domain
from fedlab.data.source import LoadContext, Source
from fedlab.data.stored_numbers import stored
from fedlab.data.stratify import split_domain
from fedlab.errors import InputError
from fedlab.targets.base import CLASS, EVERY, REGRESSION

TOLD = 5
"""Columns with filled cells that are told one by one."""


class Csv(Source):
    """Tables of numbers, such as the records of several hospitals.

    Features become float32, or float64 where that would lose what tells them apart; the device
    standardises them (``data.normalisation``). Labels are text; with another ``data.target``
    columns of 0 and 1, or of numbers.

    Attributes:
        files: The file of each domain, by the domain's name; or a folder of them, or a pattern such
            as ``sites/*.csv``, whose files are domains called as they are.
        header: Whether the first row names the columns. ``auto`` takes words for names and numbers
            for a sample, says so, and refuses what may be either.
        label: Column of the labels: its name in the header, or its position (from 0, or from the
            end if negative). Where several labels or numbers are learnt (``data.target``), a list
            of columns.
        label_type: ``auto`` refuses decimals as labels, which are mostly measurements; ``text``
            takes them for codes.
        missing: Marks of a missing value, in small or capital letters; an empty cell and ``nan``
            are missing too. A row whose label is missing is refused.
        positive_above: Makes two classes of a numeric label: whether it is above this number.
        impute: What stands in for missing values: the feature's ``median`` or ``mean`` over the
            training rows of all files but those of unseen domains; ``drop`` leaves the row out, and
            counts it.
        test_share: Share of a domain's rows that become its test split, stratified by class.
        class_names: Names of the classes, in the order of the sorted labels; by default the
            labels themselves. Of columns their names, in the order of `label`; by default those of
            the header.
        delimiter: What separates the cells.
    """

    name: Literal["csv"] = "csv"
    targets: ClassVar[frozenset[str]] = EVERY
    files: Files = Field(min_length=1)
    header: bool | Literal["auto"] = "auto"
    label: int | str | tuple[int | str, ...] = -1
    label_type: Literal["auto", "text"] = "auto"
    missing: tuple[str, ...] = MISSING
    positive_above: FiniteFloat | None = None
    impute: Literal["median", "mean", "drop"] = "median"
    test_share: float = Field(default=0.2, gt=0, lt=1)
    class_names: tuple[str, ...] | None = Field(default=None, min_length=1)
    delimiter: str = Field(default=",", min_length=1, max_length=1)

    @field_validator("missing", mode="before")
    @classmethod
    def _a_single_mark_will_do(cls, missing: Any) -> Any:
        return (missing,) if isinstance(missing, str) else missing

    def names(self, context: LoadContext) -> Sequence[str]:
        """See `Source.names`."""
        files = named(self.files, ".csv", context)
        for name, path in files.items():
            context.limits.check_file(path, f"{context.key}.files.{name}: '{path}'")
        return list(files)

    def remarks(self, context: LoadContext) -> Sequence[str]:
        """Files of a folder that are no tables."""
        return left_out(self.files, ".csv", context)

    def load(self, context: LoadContext) -> Sequence[Domain]:
        """Reads all files, splits each, and fills in what is missing.

        Raises:
            InputError: If a file cannot be read, files have different columns, labels are not
                classes, or a feature has no value at all.
        """
        numeric = context.target.kind != CLASS
        format = Format(
            label_columns(self, context)[0],
            frozenset(mark.lower() for mark in self.missing),
            self.delimiter,
            self.header,
            context.limits,
            self.positive_above is not None or context.target.kind == REGRESSION,
        )
        tables = {
            name: read_table(path, f"{context.key}.files.{name}", format)
            for name, path in named(self.files, ".csv", context).items()
        }
        codes, values, class_names, remarks = {}, {}, (), []
        if numeric:
            tables, values, class_names = taken_out(tables, self, context)
        else:
            codes, class_names, remarks = self._classes(tables, context)
        columns = next(iter(tables.values())).columns
        remarks += _told(tables, context.key)
        domains = []
        for name, table in tables.items():
            features = _in_order(table, columns, f"{context.key}.files.{name}")
            labels = (
                values[name]
                if numeric
                else np.array([codes[cell] for cell in table.labels], np.int64)
            )
            if self.impute == "drop":
                whole = ~np.isnan(features).any(axis=1)
                features, labels = features[whole], labels[whole]
                if not len(labels):
                    raise InputError(
                        f"{context.key}.impute is 'drop', but no row of domain '{name}' is "
                        "complete; use 'median' or 'mean'"
                    )
                if dropped := int((~whole).sum()):
                    what = counted({"row{s} with a missing value": dropped})
                    remarks.append(f"{context.key}.impute: left out of domain '{name}': {what}")
            dealing = rng.generator(context.seed, "split", name)
            domains.append(
                split_domain(
                    name, features, labels, class_names, self.test_share, dealing, context.target
                )
            )
        (first, *others), filled = self._filled(domains, columns, context)
        remarks += filled
        return [first.with_remarks(remarks), *others]

    def _classes(
        self, tables: dict[str, Table], context: LoadContext
    ) -> tuple[dict[str, int], tuple[str, ...], list[str]]:
        """The class index of every label cell of all files, the names of the classes, remarks."""
        cells = {cell for table in tables.values() for cell in table.labels}
        if self.positive_above is None:
            rows = sum(len(table.labels) for table in tables.values())
            remedy = (
                "name another column as label, or set positive_above to make two classes of a "
                "measurement"
            )
            codes, names, remarks = classes_of(
                cells, rows, self.label_type, f"{context.key}.label", remedy
            )
        else:
            codes, names = split_at(cells, self.positive_above, context.key)
            remarks = []
        if self.class_names is None:
            return codes, names, remarks
        given = check_given(self.class_names, f"{context.key}.class_names")
        if len(given) != len(names):
            raise InputError(
                f"{context.key}.class_names gives {len(given)} names, but the labels "
                f"make {len(names)} classes ({', '.join(names[:10])}); name each of them"
            )
        return codes, given, remarks

    def _filled(
        self, domains: list[Domain], columns: list[str], context: LoadContext
    ) -> tuple[list[Domain], list[str]]:
        """The same domains without missing values, as they are stored; a remark on what is new."""
        seen = [each.train_inputs for each in domains if each.name not in context.unseen_domains]
        pooled = np.concatenate(seen or [each.train_inputs for each in domains])
        absent = np.flatnonzero(np.isnan(pooled).all(axis=0))
        if len(absent):
            raise InputError(
                f"{context.key}.files: no training row has a value for {columns[absent[0]]}; "
                "remove that column from all files"
            )
        middle = np.nanmean(pooled, 0) if self.impute == "mean" else np.nanmedian(pooled, 0)
        splits = [split for each in domains for split in (each.train_inputs, each.test_inputs)]
        empty = np.sum([np.isnan(split).sum(axis=0) for split in splits], axis=0)
        told = _filled_in(dict(zip(columns, empty, strict=True)), middle, self.impute, context.key)
        filled = stored([np.where(np.isnan(split), middle, split) for split in splits])
        whole = [
            Domain(
                each.name,
                filled[2 * index],
                each.train_labels,
                filled[2 * index + 1],
                each.test_labels,
                each.class_names,
            )
            for index, each in enumerate(domains)
        ]
        return whole, told


def _filled_in(empty: dict[str, int], middle: np.ndarray, impute: str, key: str) -> list[str]:
    """How many cells of which columns had no value, and what they were given."""
    every = zip(empty.items(), middle, strict=True)
    found = [(int(count), name, float(value)) for (name, count), value in every if count]
    columns = sorted(found, key=lambda each: -each[0])
    if not columns:
        return []
    shown = ", ".join(f"{name}: {count:,} with {value:g}" for count, name, value in columns[:TOLD])
    more = f", and {len(columns) - TOLD:,} more columns" if len(columns) > TOLD else ""
    cells = counted({"missing cell{s}": sum(count for count, _, _ in columns)})
    return [f"{key}.impute: filled {cells} with the {impute} of the training rows ({shown}{more})"]


def _told(tables: dict[str, Table], key: str) -> list[str]:
    """What was taken for a header, what for a sample, and rows without any value."""
    remarks = []
    for kind, what in (
        ("sample", "the first row holds numbers and is read as a sample"),
        ("numbered header", "the first row numbers the columns and is read as a header"),
    ):
        names = [name for name, table in tables.items() if table.first == kind]
        if names:
            stated = str(kind != "sample").lower()
            remarks.append(
                f"{key}.header: {what} (in {listed(names)}); {key}.header={stated} says so"
            )
    blank = Counter({name: table.blank for name, table in tables.items() if table.blank})
    if blank:
        what = counted({f"row{{s}} without any value (in {listed(blank)})": blank.total()})
        remarks.append(f"{key}.files: left out {what}")
    return remarks


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
