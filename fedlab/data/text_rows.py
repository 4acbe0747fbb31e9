"""Texts with labels from tables and plain files."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from fedlab.data.csv_rows import Wanted, check_columns, check_rows, lines_of, named_rows
from fedlab.data.limits import Limits
from fedlab.data.parquet_file import File
from fedlab.errors import InputError

TABLES = (".csv", ".jsonl", ".parquet")
PLAIN = ".txt"


class TextRow(NamedTuple):
    """One text.

    Attributes:
        text: The text.
        label: Its label, as it stands in the file; empty where no label is read.
        domain: The value of the column that names domains; empty where it is not read.
    """

    text: str
    label: str = ""
    domain: str = ""


class TextColumns(NamedTuple):
    """Names of the columns of a table; None where a column is not wanted.

    Attributes:
        text: Of the texts.
        label: Of the labels.
        domain: Of the domains.
    """

    text: str
    label: str | None
    domain: str | None

    @property
    def wanted(self) -> Wanted:
        """The columns to read, by the keys that name them."""
        keys = zip(("text", "label", "domain_column"), self, strict=True)
        return [(key, column) for key, column in keys if column is not None]


def read_rows(
    path: Path, columns: TextColumns, key: str, source: str, limits: Limits
) -> list[TextRow]:
    """The texts of a file.

    Args:
        path: A table (``.csv``, ``.jsonl``, ``.parquet``) or a plain text (``.txt``), UTF-8.
        columns: Of a table; a plain text has one row.
        key: What names the file in the scenario.
        source: Key of the source, of which errors name parameters.
        limits: What may be read.

    Raises:
        InputError: If the file cannot be read, lacks a column, or has a row without text or label.
    """
    where = f"{key}: '{path}'"
    limits.check_file(path, where)
    if path.suffix.lower() == PLAIN:
        text = read_text(path, where)
        if not text.strip():
            raise InputError(f"{where} is empty; write something into it, or leave it out")
        return [TextRow(text)]
    if path.suffix.lower() not in TABLES:
        raise InputError(
            f"{where} ends with '{path.suffix}'; texts are read from {', '.join(TABLES)} and "
            f"{PLAIN}"
        )
    rows: list[TextRow] = []
    try:
        for line, cells in _table_rows(path, columns, key, source, limits):
            rows.append(_row(cells, columns, f"{where}, row {line}"))
            check_rows(len(rows), limits, where)
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"{where} cannot be read as {path.suffix[1:]} ({error}); save it anew, as UTF-8"
        ) from error
    if not rows:
        raise InputError(f"{where} has no rows; add some or leave the file out")
    return rows


def read_text(path: Path, where: str) -> str:
    """A plain text.

    Raises:
        InputError: If it cannot be read as UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{where} cannot be read as text ({error}); save it as UTF-8") from error


def _row(cells: dict[str, Any], columns: TextColumns, where: str) -> TextRow:
    text = cells.get(columns.text)
    if not isinstance(text, str) or not text.strip():
        kind = "nothing" if text is None or text == "" else f"{type(text).__name__} {text!r:.40}"
        raise InputError(
            f"{where} has {kind} in the column '{columns.text}'; write a text into it or remove "
            "the row"
        )
    return TextRow(text, _name(cells, columns.label, where), _name(cells, columns.domain, where))


def _name(cells: dict[str, Any], column: str | None, where: str) -> str:
    """A label or a domain."""
    if column is None:
        return ""
    value = cells.get(column)
    is_name = isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))
    if not is_name or not str(value).strip():
        raise InputError(
            f"{where} has nothing that names a class or a domain in the column '{column}'; write "
            "it down or remove the row"
        )
    return str(value).strip()


def _table_rows(
    path: Path, columns: TextColumns, key: str, source: str, limits: Limits
) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows of a table, by column, each with its number."""
    where = f"{key}: '{path}'"
    if path.suffix.lower() == ".csv":
        yield from named_rows(path, columns.wanted, where, source, limits, strip=False)
    elif path.suffix.lower() == ".parquet":
        file = File.opened(path, key, limits)
        check_columns(file.schema.names, columns.wanted, where, source)
        names = [name for _, name in columns.wanted]
        cells = zip(*map(file.cells, names), strict=True)
        for row, own in enumerate(cells, start=1):
            yield row, dict(zip(names, own, strict=True))
    else:
        yield from _json_rows(path, columns, where, source, limits)


def _json_rows(
    path: Path, columns: TextColumns, where: str, source: str, limits: Limits
) -> Iterator[tuple[int, dict[str, Any]]]:
    is_first = True
    with path.open(encoding="utf-8-sig") as file:
        for line, text in enumerate(lines_of(file, limits, where), start=1):
            if text.strip():
                try:
                    cells = json.loads(text)
                except json.JSONDecodeError as error:
                    raise ValueError(
                        f"line {line}: {error.msg}, at its sign {error.pos + 1}"
                    ) from error
                if not isinstance(cells, dict):
                    raise ValueError(f"line {line} is no object {{...}}")
                if is_first:
                    check_columns(cells, columns.wanted, where, source)
                is_first = False
                yield line, cells
