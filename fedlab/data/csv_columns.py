"""The purpose of each column of a table: label, owner, domain, category or number."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from fedlab.data.csv_format import CsvFormat
from fedlab.errors import InputError

_DATE = re.compile(
    r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}([T ]\d{1,2}:\d{2}.*)?|\d{1,2}:\d{2}(:\d{2}.*)?"
    r"|\d{1,2}[- ]?[A-Za-z]{3,9}[- ]?\d{2,4}"
)


@dataclass(frozen=True)
class Columns:
    """Positions of the columns of a table.

    Attributes:
        label: That of the labels.
        owner: That of the owners; None without.
        domain: That of the domains; None without.
        categorical: Those of categories, among the features.
        ignored: Those that are not read.
        features: Those of all features.
    """

    label: int
    owner: int | None
    domain: int | None
    categorical: tuple[int, ...]
    ignored: tuple[int, ...]
    features: tuple[int, ...]

    @classmethod
    def of(cls, first: Sequence[str], format: CsvFormat, where: str) -> Columns:
        """Finds the columns that a source names.

        Args:
            first: The cells of the first row.
            format: How the file is read.
            where: What it is called in errors.

        Raises:
            InputError: If there is no such column, or one is named for two purposes.
        """
        label = position(first, format.label, "label", where)
        owner, domain = (
            None if column is None else position(first, column, key, where)
            for key, column in (("owner", format.owner), ("domain_column", format.domain))
        )
        categorical, ignored = (
            tuple(position(first, column, key, where) for column in columns)
            for key, columns in (("categorical", format.categorical), ("ignore", format.ignore))
        )
        named = [label, owner, domain, *categorical, *ignored]
        for place in named:
            if place is not None and named.count(place) > 1:
                raise InputError(
                    f"{where}: the source's label, owner, domain_column, categorical and ignore "
                    f"name column {place} ({first[place]}) twice; give each its own column"
                )
        others = {label, owner, domain, *ignored}
        features = tuple(place for place in range(len(first)) if place not in others)
        if not features:
            raise InputError(
                f"{where} has no column beside those that the source names as label, owner, "
                "domain_column and ignore; there must be one to learn from"
            )
        return cls(label, owner, domain, categorical, ignored, features)

    @property
    def texts(self) -> tuple[int, ...]:
        """Columns of text and unread columns, other than the label."""
        named = (self.owner, self.domain, *self.categorical, *self.ignored)
        return tuple(place for place in named if place is not None)


def not_a_number(cell: str, *, marks: bool = True) -> str:
    """The error of a cell that should be a number, with the remedy.

    Args:
        cell: The cell.
        marks: Whether the source has a key `missing`, which names marks of missing values.
    """
    if _DATE.fullmatch(cell):
        return (
            "looks like a date or a time of day; save it as a number, such as days since a day of "
            "your choice (or as month and weekday, if these matter), or name the column in the "
            "source's ignore"
        )
    remedy = "is not a number; encode it as one, "
    if not marks:
        return f"{remedy}or name the column in the source's categorical or ignore"
    return (
        f"{remedy}name the column in the source's categorical or ignore, or set the source's "
        "missing to it where the value is missing"
    )


def position(first: Sequence[str], column: int | str, key: str, where: str) -> int:
    """Position of a column that is given by name or position.

    Raises:
        InputError: If there is no such column; `key` is the source's, and `where` the file.
    """
    if isinstance(column, str):
        if column not in first:
            raise InputError(
                f"{where} has no column '{column}' in its header, only "
                f"{', '.join(first[:20])}; set the source's {key} to one of them, or to a "
                "position if there is no header"
            )
        return list(first).index(column)
    if not -len(first) <= column < len(first):
        raise InputError(
            f"{where} has {len(first)} columns, none at position {column}; set the "
            f"source's {key} to at most {len(first) - 1}"
        )
    return column % len(first)
