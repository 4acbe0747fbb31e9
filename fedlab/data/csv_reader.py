"""Reading one CSV file of numeric features and labels, with errors that name line and column."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fedlab.errors import InputError

Row = tuple[int, list[str]]  # line number in the file, cells


@dataclass(frozen=True)
class Format:
    """How the files of a source are to be read.

    Attributes:
        label: Column of the labels: its name in the header, or its position.
        missing: Mark of a missing value; an empty cell and ``nan`` are missing too.
        delimiter: What separates the cells.
    """

    label: int | str
    missing: str
    delimiter: str

    def is_missing(self, cell: str) -> bool:
        """Whether a cell holds no value."""
        return cell in ("", self.missing) or cell.lower() == "nan"


@dataclass(frozen=True)
class Table:
    """One file.

    Attributes:
        columns: Names of the features; ``column 3`` and the like where the file has no header.
        features: float64 of shape (n, features), NaN where a value is missing.
        labels: The label cells, as text.
    """

    columns: list[str]
    features: np.ndarray
    labels: list[str]


def read_table(path: Path, key: str, format: Format) -> Table:
    """Reads one file.

    Args:
        path: The file, UTF-8 text.
        key: Key of the scenario that names it.
        format: How to read it.

    Raises:
        InputError: If the file is missing, rows differ in length, a feature is not a number, or a
            label is missing.
    """
    where = f"{key}: '{path}'"
    rows = _rows(path, where, format)
    if len(rows[0][1]) == 1:
        raise InputError(
            f"{where} has a single column, which begins with '{rows[0][1][0]}'; if its cells are "
            f"separated by something else than '{format.delimiter}', set the source's delimiter"
        )
    header, rows, label = _header(rows, where, format)
    if not rows:
        raise InputError(f"{where} has a header and no rows; add some or remove the file")
    if "" in header:
        raise InputError(
            f"{where} has no name for column {header.index('')} in its header; if that counts the "
            "rows, as pandas writes it, save the table anew with index=False, or else name it"
        )
    features = np.empty((len(rows), len(header) - 1))
    labels = []
    for index, (line, cells) in enumerate(rows):
        if len(cells) != len(header):
            raise InputError(
                f"{where} has {len(cells)} cells in line {line} but {len(header)} in its first; "
                "correct the line or the source's delimiter"
            )
        if format.is_missing(cells[label]):
            raise InputError(f"{where} has no label in line {line}; add it or remove the line")
        labels.append(cells.pop(label))
        for column, cell in enumerate(cells):
            try:
                features[index, column] = math.nan if format.is_missing(cell) else float(cell)
            except ValueError as error:
                name = (header[:label] + header[label + 1 :])[column]
                raise InputError(
                    f"{where} has '{cell}' in line {line}, {name}, which is not a number; encode "
                    f"it as one, or as '{format.missing}' where the value is missing"
                ) from error
    return Table(header[:label] + header[label + 1 :], features, labels)


def _rows(path: Path, where: str, format: Format) -> list[Row]:
    """All rows that are not blank."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=format.delimiter)
            rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
    except FileNotFoundError as error:
        raise InputError(
            f"{where} does not exist; correct the path, or data.root if the path is relative"
        ) from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"{where} cannot be read as a CSV file ({error}); save it as plain UTF-8 text"
        ) from error
    rows = [(line, cells) for line, cells in rows if any(cells)]
    if not rows:
        raise InputError(f"{where} has no rows; add some or remove the file")
    return rows


def _header(rows: list[Row], where: str, format: Format) -> tuple[list[str], list[Row], int]:
    """Names of all columns, the rows below the header, and the position of the label."""
    first = rows[0][1]
    if isinstance(format.label, str):
        if format.label not in first:
            raise InputError(
                f"{where} has no column '{format.label}' in its header, only {', '.join(first)}; "
                "set the source's label to one of them, or to a position if there is no header"
            )
        return first, rows[1:], first.index(format.label)
    if not -len(first) <= format.label < len(first):
        raise InputError(
            f"{where} has {len(first)} columns, none at position {format.label}; set the source's "
            f"label to at most {len(first) - 1}"
        )
    label = format.label % len(first)
    features = first[:label] + first[label + 1 :]
    if all(format.is_missing(cell) or _is_number(cell) for cell in features):
        return [f"column {index}" for index in range(len(first))], rows, label
    return first, rows[1:], label


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
