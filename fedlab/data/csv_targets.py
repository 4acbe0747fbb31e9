"""Target columns of a table, separated from its features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

import numpy as np

from fedlab.data.array_targets import names_of_columns
from fedlab.data.csv_columns import position
from fedlab.data.csv_reader import Table
from fedlab.data.numbers import number
from fedlab.data.source import LoadContext
from fedlab.errors import InputError
from fedlab.targets.base import CLASS


class Labelled(Protocol):
    """The part of a CSV source that says which columns are labels."""

    @property
    def label(self) -> int | str | tuple[int | str, ...]: ...  # noqa: D102
    @property
    def label_type(self) -> str: ...  # noqa: D102
    @property
    def positive_above(self) -> float | None: ...  # noqa: D102
    @property
    def class_names(self) -> tuple[str, ...] | None: ...  # noqa: D102


def label_columns(source: Labelled, context: LoadContext) -> tuple[int | str, ...]:
    """The columns that ``label`` names.

    Raises:
        InputError: If it is not of the form that the target needs, or a column stands there twice.
    """
    key, target = context.key, context.target
    given = source.label if isinstance(source.label, tuple) else (source.label,)
    if target.kind == CLASS:
        if isinstance(source.label, tuple):
            raise InputError(
                f"{key}.label: a list of columns is for data.target 'multi_label' or 'regression', "
                f"and it is '{target.name}'; name one column, or set data.target"
            )
        return given
    if not given:
        raise InputError(f"{key}.label: the list is empty; name the columns that are learnt")
    if twice := [each for each in given if given.count(each) > 1]:
        raise InputError(f"{key}.label names the column '{twice[0]}' twice; name each once")
    for name, value in (("positive_above", source.positive_above), ("label_type", None)):
        if value is not None or (name == "label_type" and source.label_type != "auto"):
            raise InputError(
                f"{key}.{name} is for classes, and data.target is '{target.name}'; leave it out"
            )
    return given


def taken_out(
    tables: Mapping[str, Table], source: Labelled, context: LoadContext
) -> tuple[dict[str, Table], dict[str, np.ndarray], tuple[str, ...]]:
    """The tables without the target columns; these as float64 (n, columns); their names.

    Raises:
        InputError: If a column is not there, stands there twice, or has a cell that is no number.
    """
    wanted = label_columns(source, context)
    rest: dict[str, Table] = {}
    values: dict[str, np.ndarray] = {}
    found: tuple[str, ...] = ()
    for domain, table in tables.items():
        where = f"{context.key}.files.{domain}"
        every = table.header
        places = [position(every, each, "label", where) for each in wanted]
        names = [every[place] for place in places]
        if twice := [each for each in places if places.count(each) > 1]:
            raise InputError(
                f"{context.key}.label names the column '{every[twice[0]]}' twice, by name and by "
                "position; name each once"
            )
        for name in names:
            if name in table.categories:
                raise InputError(
                    f"{context.key}.categorical names '{name}', which label names, too; leave it "
                    "out of one of them"
                )
            if name != every[table.label] and name not in table.columns:
                raise InputError(
                    f"{context.key}: label names '{name}', and so does owner, domain_column or "
                    "ignore; give each its own column"
                )
        name = every[table.label]
        own = np.array(
            [
                _number(cell, _place(table, row), name, where)
                for row, cell in enumerate(table.labels)
            ]
        )
        column = {**dict(zip(table.columns, table.features.T, strict=True)), name: own}
        values[domain] = np.stack([column[each] for each in names], axis=1)
        missing = np.argwhere(np.isnan(values[domain]))
        if len(missing):
            row, column = missing[0]
            raise InputError(
                f"{where} has no label in {_place(table, row)}, column '{every[places[column]]}'; "
                "add it or remove the line"
            )
        kept = [place for place, each in enumerate(table.columns) if each not in names]
        if not kept:
            raise InputError(f"{where}: all columns are labels; leave one to learn from")
        _check(table, values[domain], names, where, context)
        rest[domain] = replace(
            table,
            columns=[table.columns[place] for place in kept],
            features=table.features[:, kept],
        )
        named = tuple(names)
        if found not in ((), named):
            raise InputError(
                f"{where}: the label columns are {', '.join(named)} and in the first file "
                f"{', '.join(found)}; give all files the same columns, or name labels by header"
            )
        found = named
    return rest, values, names_of_columns(source.class_names, found, len(wanted), context)


def _check(
    table: Table, values: np.ndarray, names: list[str], where: str, context: LoadContext
) -> None:
    """Checks the values of a table's labels; an error names the line of the first wrong one."""
    check = context.target.check_values
    try:
        check(values, names, where)
    except InputError as error:
        for row in range(len(table.lines)):
            try:
                check(values[row : row + 1], names, where)
            except InputError:
                line = _place(table, row)
                raise InputError(f"{error}; sample {row} is {line} of the file") from error
        raise


def _place(table: Table, row: int) -> str:
    """Where a row stands in its file, in words."""
    return f"line {table.lines[row]}" if table.lines else f"sample {row}"


def _number(cell: str, place: str, name: str, where: str) -> float:
    value = number(cell)
    if value is None:
        raise InputError(
            f"{where} has '{cell[:60]}' in {place}, column '{name}', which is not a number; "
            "with this data.target labels must be numbers"
        )
    return value
