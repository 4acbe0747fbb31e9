"""Whether the first row of a table names its columns or is a sample."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Literal

from fedlab.data.csv_format import CsvFormat
from fedlab.data.numbers import number
from fedlab.errors import InputError

Guess = Literal["header", "numbered header", "sample"]

_UNNAMED = re.compile(r"Unnamed: \d+(\.\d+)*")
_SEPARATOR = re.compile(r"sep=(.)", re.IGNORECASE)


def guess(
    first: Sequence[str],
    label: int,
    below: Mapping[str, int],
    format: CsvFormat,
    where: str,
    texts: Collection[int] = (),
) -> Guess:
    """The kind of the first row, where the scenario does not state it.

    Words are a header. Numbers are a sample, unless no other row has their label and they count the
    columns (pandas writes an array so), or stand beside a word where all other labels are numbers.

    Args:
        first: Its cells.
        label: Position of the label.
        below: How often each label stands in the rows below it.
        format: How the file is read.
        where: What the file is called in errors.
        texts: Positions of further columns that hold text: the owners, categories.

    Raises:
        InputError: If it may be either.
    """
    beside = [*first[:label], *first[label + 1 :]]
    cells = [cell for place, cell in enumerate(first) if place != label and place not in texts]
    words = [c for c in cells if not format.is_missing(c) and number(c) is None]
    numbers = [c for c in cells if number(c) is not None]
    if words and not numbers:
        return "header"
    if words:
        raise InputError(
            f"{where} begins with a row of words ('{words[0]}') and numbers ('{numbers[0]}'), "
            "which may be a header or a sample; set the source's header to true or false, or "
            "correct the cell"
        )
    own = first[label]
    counts = len(beside) > 1 and _counts(beside)
    if counts and own not in below:
        return "numbered header"
    if number(own) is None and all(number(cell) is not None for cell in below):
        return "numbered header" if below and not format.is_missing(own) else "sample"
    is_measured = format.measured and number(own) is not None
    repeats = sum(below.values()) > len(below)
    if not is_measured and repeats and (own not in below or (counts and _counts(first))):
        what = "numbers that count its columns" if counts else "a label that no other row has"
        raise InputError(
            f"{where} begins with {what} ({', '.join(first[:6])}), which may be a header or a "
            "sample; set the source's header to true or false"
        )
    return "sample"


def check_first_row(first: Sequence[str], format: CsvFormat, where: str) -> None:
    """Refuses a first row that is no row of a table: a comment, a line ``sep=;``, a single cell.

    Args:
        first: Its cells.
        format: How the file is read.
        where: What the file is called in errors.

    Raises:
        InputError: With the remedy.
    """
    shown = format.delimiter.join(first)[:60]
    if stated := _SEPARATOR.fullmatch(format.delimiter.join(first)):
        other = stated[1] != format.delimiter
        raise InputError(
            f"{where} begins with the line '{shown}', which is for spreadsheets; remove it"
            + f", and set the source's delimiter to '{stated[1]}'" * other
        )
    if len(first) > 1:
        return
    if first[0].startswith("#"):
        raise InputError(
            f"{where} begins with the line '{shown}', which is a comment; remove all lines above "
            "the table"
        )
    raise InputError(
        f"{where} has a single column, which begins with '{first[0]}'; if its cells "
        f"are separated by something else than '{format.delimiter}', set the source's "
        "delimiter"
    )


def check_length(cells: Sequence[str], line: int, first: Sequence[str], where: str) -> None:
    """Refuses a row that has not as many cells as the first.

    Raises:
        InputError: With its line and the remedy.
    """
    if len(cells) == len(first):
        return
    remedy = "correct the line or the source's delimiter"
    if first[0].startswith("#"):
        remedy = f"remove the first line, which begins with '{first[0][:60]}', if it is a comment"
    raise InputError(
        f"{where} has {len(cells)} cells in line {line} but {len(first)} in its first; {remedy}"
    )


def check_features(names: Sequence[str], where: str) -> None:
    """Refuses features that pandas has named, since they had no name.

    Raises:
        InputError: With the column.
    """
    for name in filter(_UNNAMED.fullmatch, names):
        raise InputError(
            f"{where} has a column '{name}', as pandas calls one without a name; if it counts the "
            "rows, save the table anew with index=False, or name it in the source's ignore; or "
            "else give it a name"
        )


def check_names(names: Sequence[str], where: str) -> None:
    """Refuses a header without a name for a column, or with one name for two.

    Raises:
        InputError: With the column.
    """
    if "" in names:
        raise InputError(
            f"{where} has no name for column {list(names).index('')} in its header; if that counts "
            "the rows, as pandas writes it, save the table anew with index=False, or else name it"
        )
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise InputError(
            f"{where} has the column '{twice[0]}' twice in its header; give each column its own "
            "name, or set the source's header to false if this row is a sample"
        )


def _counts(cells: Sequence[str]) -> bool:
    """Whether the cells are 0, 1, 2, ... or 1, 2, 3, ..."""
    return list(cells) in [[str(index + start) for index in range(len(cells))] for start in (0, 1)]
