"""Rows of a CSV file as cells of text, within limits."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TextIO

from fedlab.data.limits import Limits, size
from fedlab.errors import InputError

Wanted = Sequence[tuple[str, str]]
"""Columns that a source names, each behind its key."""


def check_columns(found: Collection[str], wanted: Wanted, where: str, source: str) -> None:
    """Refuses a table that lacks a column.

    Args:
        found: Its columns.
        wanted: Those that there must be.
        where: What the file is called in errors.
        source: Key of the source in the scenario.

    Raises:
        InputError: With the columns that there are.
    """
    for key, column in wanted:
        if column not in found:
            raise InputError(
                f"{where} has no column '{column}', only {', '.join(list(found)[:20])}; "
                f"set {source}.{key} to the one that is meant"
            )


def named_rows(
    path: Path, wanted: Wanted, where: str, source: str, limits: Limits, strip: bool = True
) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of a file with a header, by column, each with the line in which it ends.

    Args:
        path: The file, UTF-8.
        wanted: The columns that are read.
        where: What the file is called in errors.
        source: Key of the source in the scenario.
        limits: What may be read.
        strip: Whether blanks around cells go.

    Raises:
        InputError: If the file cannot be read, lacks a column or has one twice, or a row has more
            or fewer cells than the header.
    """
    limits.check_file(path, where)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = rows_of(file, limits, where, strip=strip)
            _, header = next(rows, (0, []))
            if not header:
                raise InputError(f"{where} has no rows; add some or leave the file out")
            check_columns(header, wanted, where, source)
            for _, column in wanted:
                if header.count(column) > 1:
                    raise InputError(
                        f"{where} has the column '{column}' twice in its header; give each its "
                        "own name"
                    )
            for count, (line, cells) in enumerate(rows, start=1):
                check_rows(count, limits, where)
                if len(cells) != len(header):
                    raise InputError(
                        f"{where} has {len(cells)} cells in the row that ends with line {line} but "
                        f"{len(header)} in its header; put texts with commas into quotation marks"
                    )
                yield line, dict(zip(header, cells, strict=True))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{where} cannot be read as a CSV file ({error}); save it anew, as plain UTF-8 text"
        ) from error


def rows_of(
    file: TextIO, limits: Limits, where: str, delimiter: str = ",", strip: bool = False
) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not blank, each with the line in which it ends.

    Args:
        file: Opened with ``newline=""``, at its beginning.
        limits: What may be read.
        where: What the file is called in errors.
        delimiter: What separates the cells.
        strip: Whether blanks around cells go, also those before a quotation mark.

    Raises:
        InputError: If a line is too long, or a quotation mark is not closed.
    """
    skips = strip and delimiter != " "
    lines = lines_of(file, limits, where)
    reader = csv.reader(lines, delimiter=delimiter, strict=True, skipinitialspace=skips)
    try:
        for row in reader:
            if row:
                yield reader.line_num, [cell.strip() for cell in row] if strip else row
    except csv.Error as error:
        raise InputError(
            f"{where} cannot be read as a CSV file ({error}, in the row that ends with line "
            f"{reader.line_num}); close its quotation marks, double those within a text, and save "
            "texts of more than 131,072 characters as .jsonl"
        ) from error


def lines_of(file: TextIO, limits: Limits, where: str) -> Iterator[str]:
    """The lines of a file, with their ends.

    Args:
        file: At its beginning.
        limits: What a line may have.
        where: What the file is called in errors.

    Raises:
        InputError: If a line is longer; no more of it is read.
    """
    longest, number = limits.line_bytes, 0
    while line := file.readline(longest + 1):
        number += 1
        if len(line) > longest:
            raise InputError(
                f"{where} has more than {size(longest)} in line {number}, which is what "
                "data.limits.line_bytes allows; set it to more if that is a row"
            )
        yield line


def check_rows(rows: int, limits: Limits, where: str) -> None:
    """Refuses a table of more rows than are allowed.

    Raises:
        InputError: If there are more.
    """
    if rows > limits.rows:
        raise InputError(
            f"{where} has more than the {limits.rows:,} rows that data.limits.rows allows; set it "
            "to more if they are meant"
        )
