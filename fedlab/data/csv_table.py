"""Tables in CSV files: numeric columns become features."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field, FiniteFloat, field_validator, model_validator

from fedlab.data.categories import Categories, Encoding, check_encoding
from fedlab.data.class_names import normal
from fedlab.data.csv_format import MISSING, CsvFormat
from fedlab.data.csv_reader import Table, read_table
from fedlab.data.csv_targets import label_columns, taken_out
from fedlab.data.imputation import Impute, filled
from fedlab.data.labels import LabelType, check_label_type, classes_of, renamed, split_at
from fedlab.data.named_files import Files, FilesAre, check_files_are, left_out, named, one_name
from fedlab.data.owners import OwnerSplit, refuse_constant, refuse_spanning
from fedlab.data.remarks import counted, listed
from fedlab.data.samples import Domain
from fedlab.data.source import LoadContext, Source
from fedlab.data.table_rows import Rows, all_splits, by_domain, learnt, of_owners, with_inputs
from fedlab.errors import InputError
from fedlab.targets.base import CLASS, EVERY, REGRESSION


class Csv(Source):
    """Tables of numbers, such as the records of several hospitals.

    Features become float32, or float64 where float32 would make different values equal; the device
    standardises them (``data.normalisation``). Labels are text; with another ``data.target``
    columns of 0 and 1, or of numbers.

    Attributes:
        files: The file of each domain, by the domain's name; or a single file, a folder of them or
            a pattern such as ``sites/*.csv``, whose files are domains called as they are.
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
        owner: Column that says whose a row is (a patient, a sensor), by name or position.
        split: With owners: ``within_owners`` splits each owner's rows, ``by_owner`` draws owners
            all of whose rows are tested.
        files_are: Whether each file is a domain, or the rows of one of the ``owners`` of a single
            domain.
        domain: Name of that single domain; by default that of the folder, or else ``all``.
        domain_column: Column that names the domain of a row, by name or position; the rows of all
            files with that name are one domain.
        categorical: Columns of categories (texts or codes), by name or position.
        encoding: How these become numbers: ``one_hot``, a column for each category, or ``codes``,
            its place among the sorted categories. Categories are those of the training rows of all
            files but those of unseen domains; what else there is, and what is missing, is 0
            in all columns, or the next code, and counted.
        ignore: Columns that are left out, such as names and dates, by name or position.
        delimiter: What separates the cells.
    """

    name: Literal["csv"] = "csv"
    targets: ClassVar[frozenset[str]] = EVERY
    files: Files = Field(min_length=1)
    header: bool | Literal["auto"] = "auto"
    label: int | str | tuple[int | str, ...] = -1
    label_type: LabelType = "auto"
    missing: tuple[str, ...] = MISSING
    positive_above: FiniteFloat | None = None
    impute: Impute = "median"
    test_share: float = Field(default=0.2, gt=0, lt=1)
    class_names: tuple[str, ...] | None = Field(default=None, min_length=1)
    owner: int | str | None = None
    split: OwnerSplit = "within_owners"
    files_are: FilesAre = "domains"
    domain: str | None = Field(default=None, min_length=1)
    domain_column: int | str | None = None
    categorical: tuple[int | str, ...] = ()
    encoding: Encoding = "one_hot"
    ignore: tuple[int | str, ...] = ()
    delimiter: str = Field(default=",", min_length=1, max_length=1)

    @field_validator("missing", mode="before")
    @classmethod
    def _a_single_mark_will_do(cls, missing: Any) -> Any:
        return (missing,) if isinstance(missing, str) else missing

    @field_validator("categorical", "ignore", mode="before")
    @classmethod
    def _a_single_column_will_do(cls, columns: Any) -> Any:
        return (columns,) if isinstance(columns, str | int) else columns

    @model_validator(mode="after")
    def _says_nothing_in_vain(self) -> Csv:
        check_files_are(self.files_are, self.domain, self.owner, self.split)
        check_label_type(self.label_type, self.positive_above)
        check_encoding(self.encoding, self.categorical)
        labels = self.label if isinstance(self.label, tuple) else (self.label,)
        if self.domain_column is not None and self.files_are == "owners":
            raise ValueError(
                "has both domain_column and files_are: owners, whose files are of one domain; "
                "leave one of them out"
            )
        named = (*labels, self.owner, self.domain_column, *self.categorical, *self.ignore)
        for column in named:
            if self.header is False and isinstance(column, str):
                raise ValueError(
                    f"header: false says that no column has a name, and '{column}' is one; give "
                    "its position, or leave header out"
                )
        return self

    def names(self, context: LoadContext) -> Sequence[str] | None:
        """See `Source.names`."""
        files = named(self.files, ".csv", context)
        for name, path in files.items():
            context.limits.check_file(path, f"{context.key}.files.{name}: '{path}'")
        if self.domain_column is not None:
            return None
        return list(files) if self.files_are == "domains" else [self._one_name()]

    def remarks(self, context: LoadContext) -> Sequence[str]:
        """A remark on files of a folder that are not tables."""
        return left_out(self.files, ".csv", context)

    def load(self, context: LoadContext) -> Sequence[Domain]:
        """Reads all files, splits each, and fills in missing values.

        Raises:
            InputError: If a file cannot be read, files have different columns, labels are not
                classes, or a feature has no value at all.
        """
        format = CsvFormat(
            label_columns(self, context)[0],
            frozenset(mark.lower() for mark in self.missing),
            self.delimiter,
            self.header,
            context.limits,
            self.positive_above is not None or context.target.kind == REGRESSION,
            self.owner,
            self.domain_column,
            self.categorical,
            self.ignore,
        )
        tables = {
            name: read_table(path, f"{context.key}.files.{name}", format)
            for name, path in named(self.files, ".csv", context).items()
        }
        return self.domains(tables, context)

    def domains(self, tables: dict[str, Table], context: LoadContext) -> list[Domain]:
        """The domains of tables, by the name of their file.

        Raises:
            InputError: As `load`.
        """
        codes, values, class_names, remarks = {}, {}, (), []
        numeric = context.target.kind != CLASS
        if numeric:
            tables, values, class_names = taken_out(tables, self, context)
        else:
            codes, class_names, remarks = self._classes(tables, context)
        columns = next(iter(tables.values())).columns
        remarks += _header_remarks(tables, context.key)
        found = Categories.of([table.categories for table in tables.values()], context.key)
        read: dict[str, Rows] = {}
        for name, table in tables.items():
            features = _in_order(table, columns, f"{context.key}.files.{name}")
            features = found.renumbered(features, columns, table.categories)
            labels = (
                values[name]
                if numeric
                else np.array([codes[cell] for cell in table.labels], np.int64)
            )
            read[name] = Rows(features, labels, table.owners, table.tested)
        if self.files_are == "owners":
            read = {self._one_name(): of_owners(read)}
        if self.domain_column is not None:
            cells = [cell for table in tables.values() for cell in table.domains or ()]
            read = by_domain(read, [normal(cell) for cell in cells])
        kept = {name: rows for name, rows in read.items() if context.keeps(name)} or read
        left_out = [Domain.left_out(name, class_names) for name in read if name not in kept]
        refuse_constant(
            [name for rows in kept.values() for name in set(rows.owners or ())],
            f"{context.key}.owner" if self.files_are == "domains" else f"{context.key}.files",
            context,
        )
        domains = []
        for name, rows in kept.items():
            if self.impute == "drop":
                rows, dropped = rows.whole()
                if not len(rows.labels):
                    raise InputError(
                        f"{context.key}.impute is 'drop', but no row of domain '{name}' is "
                        "complete; use 'median' or 'mean'"
                    )
                if dropped:
                    what = counted({"row{s} with a missing value": dropped})
                    remarks.append(f"{context.key}.impute: left out of domain '{name}': {what}")
            domains.append(rows.domain(name, class_names, self.test_share, context, self.split))
        if self.split == "by_owner":
            refuse_spanning(domains, f"{context.key}.split: by_owner")
        domains, columns, encoded = self._encoded(found, domains, columns, context)
        names = () if any(table.is_nameless for table in tables.values()) else tuple(columns)
        domains = [replace(domain, feature_names=names) for domain in domains]
        (first, *others), imputed = filled(domains, columns, self.impute, context)
        return [first.with_remarks([*remarks, *encoded, *imputed]), *others, *left_out]

    def _one_name(self) -> str:
        """Name of the one domain whose owners the files are."""
        return one_name(self.domain, self.files)

    def _encoded(
        self, found: Categories, domains: list[Domain], columns: list[str], context: LoadContext
    ) -> tuple[list[Domain], list[str], list[str]]:
        """The same domains with numbers for categories, names of their columns, and remarks."""
        if not found.texts:
            return domains, columns, []
        splits, names, remarks = found.encoded(
            all_splits(domains), learnt(domains, context), columns, self.encoding, context.key
        )
        return with_inputs(domains, splits), names, remarks

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
        return codes, renamed(names, self.class_names, context.key), remarks


def _header_remarks(tables: dict[str, Table], key: str) -> list[str]:
    """Remarks on rows read as a header, rows read as samples, and rows without any value."""
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
    place = {name: index for index, name in enumerate(table.columns)}
    return table.features[:, [place[name] for name in columns]]
