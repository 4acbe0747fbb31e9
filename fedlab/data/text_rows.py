"""Texts with labels out of tables and plain files."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from fedlab.data.limits import Limits
from fedlab.errors import InputError

TABLES = (".csv", ".jsonl", ".parquet")
PLAIN = ".txt"


class TextRow(NamedTuple):
    """One text.

    Attributes:
        text: The text.
        label: Its label, as it stands in the file; empty where nobody asks for one.
        domain: The value of the column that names domains; empty where nobody asks for it.
    """

    text: str
    label: str = ""
    domain: str = ""


class Columns(NamedTuple):
    """Names of the columns of a table; None where a column is not wanted.

    Attributes:
        text: Of the texts.
        label: Of the labels.
        domain: Of the domains.
    """

    text: str
    label: str | None
    domain: str | None


def read_rows(path: Path, columns: Columns, key: str, source: str, limits: Limits) -> list[TextRow]:
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
    readers = {".csv": _csv_rows, ".jsonl": _json_rows, ".parquet": _parquet_rows}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise InputError(
            f"{where} ends with '{path.suffix}'; texts are read from {', '.join(TABLES)} and "
            f"{PLAIN}"
        )
    rows: list[TextRow] = []
    try:
        for line, cells in reader(path):
            if not rows:
                _check_columns(cells, columns, where, source)
            rows.append(_row(cells, columns, f"{where}, row {line}"))
            if len(rows) > limits.rows:
                raise InputError(
                    f"{where} has more than the {limits.rows:,} rows that data.limits.rows allows; "
                    "set it to more if they are meant"
                )
    except (OSError, ValueError, csv.Error) as error:
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


def _check_columns(cells: dict[str, Any], columns: Columns, where: str, source: str) -> None:
    parameters = zip(("text", "label", "domain_column"), columns, strict=True)
    for parameter, name in parameters:
        if name is not None and name not in cells:
            raise InputError(
                f"{where} has no column '{name}', only {', '.join(map(str, list(cells)[:20]))}; "
                f"set {source}.{parameter} to the one that is meant"
            )


def _row(cells: dict[str, Any], columns: Columns, where: str) -> TextRow:
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
    if not isinstance(value, str | int | float) or not str(value).strip():
        raise InputError(
            f"{where} has nothing that names a class or a domain in the column '{column}'; write "
            "it down or remove the row"
        )
    return str(value).strip()


def _csv_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        for cells in reader:
            yield reader.line_num, {str(name): value for name, value in cells.items()}


def _json_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with path.open(encoding="utf-8-sig") as file:
        for line, text in enumerate(file, start=1):
            if text.strip():
                cells = json.loads(text)
                if not isinstance(cells, dict):
                    raise ValueError(f"line {line} is no object {{...}}")
                yield line, cells


def _parquet_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise InputError(
            f"'{path}' is read by pyarrow, which is not installed; run pip install "
            '"fedlab-sim[sim]"'
        ) from error
    rows: Iterable[dict[str, Any]] = parquet.read_table(path).to_pylist()
    yield from enumerate(rows, start=1)
