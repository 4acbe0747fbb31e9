"""Rows of a CSV file as cells of text, and what may be read of a table."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import TextIO

from fedlab.data.limits import Limits, size
from fedlab.errors import InputError


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
