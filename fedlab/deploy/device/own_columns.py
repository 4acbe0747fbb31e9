"""The columns of a device's table: those of the scenario, found by their names."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fedlab.data.samples import FederatedData, Samples
from fedlab.errors import InputError

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


def with_named_label(known: Values, features: Sequence[str]) -> Values:
    """The source of a table, with the label's column by name where the scenario counts columns.

    The device's file may have its columns in another order. Its label is the only column that is
    neither a feature nor used for something else.

    Args:
        known: Values of any source.
        features: Names of the scenario's features.

    Raises:
        InputError: If the file has all features, and no such column or several.
    """
    label = known.get("label", -1)
    if known["name"] != "csv" or known.get("header") is False or not isinstance(label, int):
        return known
    (file,) = known["files"].values()
    columns = _columns(Path(file), known) or []
    used = {*features, known.get("owner"), *known.get("ignore", ())}
    others = [column for column in columns if column not in used]
    if not features or not {*features} <= {*columns}:
        return known
    if len(others) != 1:
        raise InputError(
            f"--data: '{file}' has {_listed(others) or 'no column'} beside the scenario's features "
            f"({_listed(features)}), and one column must be the label; "
            + ("remove the others, or let the server's scenario name it" if others else "add it")
        )
    return known | {"label": others[0]}


def features_in_order(data: FederatedData, wanted: Sequence[str], path: Path) -> FederatedData:
    """The same samples with their features in the scenario's order.

    Args:
        data: The device's samples.
        wanted: Names of the scenario's features.
        path: The device's file, for errors.

    Raises:
        InputError: If the file has other features.
    """
    own = data.feature_names
    if not own or not wanted or own == tuple(wanted):
        return data
    if lacking := [name for name in wanted if name not in own]:
        raise InputError(
            f"--data: '{path}' lacks the feature{'s' * (len(lacking) > 1)} {_listed(lacking)} of "
            f"the scenario, and has {_listed(own)}; name the columns as the server's table does"
        )
    if more := [name for name in own if name not in wanted]:
        raise InputError(
            f"--data: '{path}' has the column{'s' * (len(more) > 1)} {_listed(more)}, and the "
            f"scenario has only the features {_listed(wanted)}; remove what is no feature"
        )
    order = [own.index(name) for name in wanted]

    def reordered(samples: Samples) -> Samples:
        return replace(samples, inputs=samples.inputs[:, order])

    train, test = reordered(data.train), reordered(data.test)
    return replace(data, train=train, test=test, feature_names=tuple(wanted))


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names[:20]) + " …" * (len(names) > 20)


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
