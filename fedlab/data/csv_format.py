"""The format of the files of a CSV source."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from fedlab.data.limits import Limits

MISSING = ("?", "NA", "N/A", "#N/A", "<NA>", "null", "None")


@dataclass(frozen=True)
class CsvFormat:
    """The format of the files of a source.

    Attributes:
        label: Column of the labels: its name in the header, or its position.
        missing: Marks of a missing value, in lower case; an empty cell and ``nan`` are missing too.
        delimiter: What separates the cells.
        header: Whether the first row names the columns; ``auto`` looks at it.
        limits: How much may be read.
        measured: Whether labels are measurements, so that each may be another.
        owner: Column of the owners, by name or position; None where there is none.
        domain: Column of the domains, likewise.
        categorical: Columns of categories, likewise.
        ignore: Columns that are not read, likewise.
    """

    label: int | str
    missing: frozenset[str]
    delimiter: str
    header: bool | Literal["auto"] = "auto"
    limits: Limits = field(default_factory=Limits)
    measured: bool = False
    owner: int | str | None = None
    domain: int | str | None = None
    categorical: tuple[int | str, ...] = ()
    ignore: tuple[int | str, ...] = ()

    @property
    def is_named(self) -> bool:
        """Whether a column is named, so that there must be a header."""
        named = (self.label, self.owner, self.domain, *self.categorical, *self.ignore)
        return any(isinstance(each, str) for each in named)

    def is_missing(self, cell: str) -> bool:
        """Whether a cell has no value."""
        return cell == "" or cell.lower() in self.missing or cell.lower() in ("nan", "-nan")
