"""Reading one CSV file of numeric features and labels, with errors that name line and column."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

import numpy as np

from fedlab.data.csv_columns import Columns, not_a_number
from fedlab.data.csv_format import CsvFormat
from fedlab.data.csv_header import (
    Guess,
    check_features,
    check_first_row,
    check_length,
    check_names,
    guess,
)
from fedlab.data.csv_rows import check_rows, rows_of
from fedlab.data.numbers import EXACT, number
from fedlab.errors import InputError

Row = tuple[int, list[str]]  # line number in the file, cells


@dataclass(frozen=True)
class Table:
    """One file.

    Attributes:
        columns: Names of the features; ``column 3`` and the like where the file has no header.
        features: float64 of shape (n, features), NaN where a value is missing.
        labels: The label cells, as text.
        owners: The owner cells, as text; None without such a column.
        domains: The domain cells, likewise.
        categories: The texts of each categorical column, by its name; a feature's value is the
            place of its text among them.
        first: What the first row was taken for; None where the scenario says it.
        blank: Rows without any value, which are left out.
        tested: Which rows are the test split, bool of shape (n,); None where none is given.
        label: Position of the column of the label cells.
        header: Names of all columns, also of those that are no features.
        lines: The line of each row in its file; empty where rows have none.
        is_nameless: Whether columns have positions alone, for the file has no header.
    """

    columns: list[str]
    features: np.ndarray
    labels: list[str]
    owners: list[str] | None = None
    domains: list[str] | None = None
    categories: dict[str, list[str]] = field(default_factory=dict)
    first: Guess | None = None
    blank: int = 0
    tested: np.ndarray | None = None
    label: int = 0
    header: list[str] = field(default_factory=list)
    lines: array[int] = field(default_factory=lambda: array("q"))
    is_nameless: bool = False


def read_table(path: Path, key: str, format: CsvFormat) -> Table:
    """Reads one file.

    Args:
        path: The file, UTF-8 text.
        key: Key of the scenario that names it.
        format: How to read it.

    Raises:
        InputError: If the file is missing, larger than is allowed or no table, rows differ in
            length, a feature is not a finite number, or a label is missing.
    """
    where = f"{key}: '{path}'"
    format.limits.check_file(path, where)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return _Reading(where, format).table(file)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{where} cannot be read as a CSV file ({error}); save it anew, as plain UTF-8 text"
        ) from error


class _Reading:
    """The state of reading one file, row by row."""

    def __init__(self, where: str, format: CsvFormat) -> None:
        self.where, self.format = where, format
        self.blank = 0
        self.values = array("d")
        self.lines = array("q")
        self.labels: list[str] = []
        self.owners: list[str] = []
        self.domains: list[str] = []
        self.codes: dict[int, dict[str, int]] = {}
        self.first: list[str] = []
        self.long: dict[tuple[int, float], str] = {}

    def table(self, file: TextIO) -> Table:
        rows = self._rows(file)
        line, first = next(rows, (0, []))
        if not first:
            raise InputError(f"{self.where} has no rows; add some or remove the file")
        self.first = first
        check_first_row(first, self.format, self.where)
        columns = Columns.of(first, self.format, self.where)
        self.codes = {place: {} for place in columns.categorical}
        plain = [f"column {index}" for index in range(len(first))]
        names = first if self._is_named(first, columns) else plain
        for row in rows:
            self._add(row, columns, names)
        kind = self._kind(first, columns)
        if kind == "sample":
            below = self.values, self.labels, self.owners, self.domains, self.lines
            self.values, self.labels, self.owners, self.domains = array("d"), [], [], []
            self.lines = array("q")
            self._add((line, first), columns, plain)
            self.values.extend(below[0])
            self.labels.extend(below[1])
            self.owners.extend(below[2])
            self.domains.extend(below[3])
            self.lines.extend(below[4])
            names = plain
        else:
            names = first
            check_names(first, self.where)
            read = set(columns.features) - set(columns.categorical)
            check_features([first[place] for place in sorted(read)], self.where)
        if not self.labels:
            raise InputError(f"{self.where} has a header and no rows; add some or remove the file")
        return Table(
            [names[place] for place in columns.features],
            np.array(self.values).reshape(len(self.labels), len(columns.features)),
            self.labels,
            None if columns.owner is None else self.owners,
            None if columns.domain is None else self.domains,
            {names[place]: list(texts) for place, texts in self.codes.items()},
            kind if self.format.header == "auto" and not self.format.is_named else None,
            self.blank,
            label=columns.label,
            header=list(names),
            lines=self.lines,
            is_nameless=names is plain,
        )

    def _is_named(self, first: list[str], columns: Columns) -> bool:
        """Whether errors name columns by the first row, before its kind is known."""
        texts = set(columns.categorical)
        cells = [first[place] for place in columns.features if place not in texts]
        words = any(number(c) is None and not self.format.is_missing(c) for c in cells)
        stated = self.format.header is True or self.format.is_named
        return stated or (self.format.header == "auto" and words)

    def _kind(self, first: list[str], columns: Columns) -> Guess:
        """The kind of the first row."""
        if self.format.is_named or self.format.header is True:
            return "header"
        if self.format.header is False:
            return "sample"
        below = Counter(self.labels)
        return guess(first, columns.label, below, self.format, self.where, set(columns.texts))

    def _add(self, row: Row, columns: Columns, names: list[str]) -> None:
        """Stores the numbers, the label, the owner and the domain of a row."""
        line, cells = row
        label = columns.label
        check_length(cells, line, self.first, self.where)
        if self.format.is_missing(cells[label]):
            mark = f" ('{cells[label]}' is a mark of missing values)" if cells[label] else ""
            remedy = ", or set the source's missing if that is a class" if mark else ""
            raise InputError(
                f"{self.where} has no label in line {line}{mark}; add it or remove the line{remedy}"
            )
        if "\n" in cells[label]:
            raise InputError(
                f"{self.where} has a label of several lines, which ends in line {line}; close the "
                "quotation mark that it begins with"
            )
        self.labels.append(cells[label])
        self.lines.append(line)
        for what, place, found in (
            ("owner", columns.owner, self.owners),
            ("domain", columns.domain, self.domains),
        ):
            if place is not None:
                if not cells[place]:
                    raise InputError(
                        f"{self.where} has no {what} in line {line}, {names[place]}; name one, or "
                        "remove the line"
                    )
                found.append(cells[place])
        for column in columns.features:
            cell = cells[column]
            codes = self.codes.get(column)
            if self.format.is_missing(cell):
                value = math.nan
            else:
                value = number(cell) if codes is None else codes.setdefault(cell, len(codes))
            if value is None:
                raise InputError(
                    f"{self.where} has '{cell[:60]}' in line {line}, {names[column]}, which "
                    f"{not_a_number(cell)}"
                )
            if math.isinf(value):
                raise InputError(
                    f"{self.where} has '{cell[:60]}' in line {line}, {names[column]}, which is no "
                    "finite number in double precision; correct it, or set the source's missing to "
                    "it where it means that there is no value"
                )
            if codes is None and abs(value) >= EXACT:
                self._refuse_merged(value, cell, (column, names[column]), line)
            self.values.append(value)
        limits = self.format.limits
        check_rows(len(self.labels), limits, self.where)
        if len(self.values) * 8 > limits.array_bytes:
            limits.check_array((len(self.values),), 8, f"{self.where} (up to line {line})")

    def _refuse_merged(self, value: float, cell: str, column: tuple[int, str], line: int) -> None:
        """Refuses a whole number that double precision makes equal to another of its column."""
        digits = cell.lstrip("+-0")
        if not digits.isdecimal():
            return
        other = self.long.setdefault((column[0], value), digits)
        if other != digits:
            raise InputError(
                f"{self.where} has '{cell[:60]}' in line {line}, {column[1]}, which is the same "
                f"number as '{other[:60]}' in double precision; name the column in the source's "
                "ignore if it counts or names rows, or subtract an offset from it"
            )

    def _rows(self, file: TextIO) -> Iterator[Row]:
        """All rows with a value in them; rows of empty cells alone are counted."""
        format = self.format
        for line, cells in rows_of(file, format.limits, self.where, format.delimiter, strip=True):
            if any(cells):
                yield line, cells
            elif len(cells) > 1:
                self.blank += 1
