"""A device's table without the columns that only tell devices apart."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Values = dict[str, Any]


def without_absent(known: Values, file: Path) -> Values:
    """The source of a table, without the owner's column where the device's file has none.

    All rows are of one owner then; neither does a column of domains have to be there to be ignored.

    Args:
        known: Values of a source ``csv``, ``image_table`` or ``parquet``.
        file: The table, or the first of several.
    """
    columns = _columns(file, known)
    if columns is None:  # the source says what is wrong with the file
        return known
    ignored = [name for name in known.get("ignore", ()) if not _is_absent(name, columns)]
    found = known | ({"ignore": ignored} if "ignore" in known else {})
    if not _is_absent(known.get("owner"), columns):
        return found
    return found | {"owner": None} | ({"split": "within_owners"} if "split" in known else {})


def _is_absent(column: Any, columns: list[str]) -> bool:
    """Whether a column that is named, and not counted, is not there."""
    return isinstance(column, str) and column not in columns


def _columns(file: Path, known: Mapping[str, Any]) -> list[str] | None:
    """The names of a table's columns; None if they cannot be read."""
    if file.suffix == ".parquet":
        from pyarrow import ArrowException
        from pyarrow.parquet import read_schema

        try:
            return list(read_schema(file).names)
        except (OSError, ArrowException):
            return None
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            first = next(csv.reader(lines, delimiter=known.get("delimiter", ",")), None)
    except (OSError, UnicodeError, csv.Error):
        return None
    return None if first is None else [cell.strip() for cell in first]
