"""Columns of Parquet files: numbers, texts and pictures, with Hugging Face's metadata."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fedlab.data.class_names import normal
from fedlab.data.csv_columns import not_a_number
from fedlab.data.limits import Limits
from fedlab.data.numbers import EXACT
from fedlab.errors import InputError


class File(NamedTuple):
    """One file, whose columns have not been read yet.

    Attributes:
        path: The file.
        where: Its key and path, for errors.
        schema: Its columns, a `pyarrow.Schema`.
        rows: Number of its rows.
    """

    path: Path
    where: str
    schema: Any
    rows: int

    @classmethod
    def opened(cls, path: Path, key: str, limits: Limits) -> File:
        """Reads a file's metadata.

        Raises:
            InputError: If it is missing, larger than is allowed, no Parquet file, or has two
                columns of one name.
        """
        where = f"{key}: '{path}'"
        limits.check_file(path, where)
        parquet = _pyarrow(where)
        try:
            found = parquet.ParquetFile(path)
            schema, rows = found.schema_arrow, int(found.metadata.num_rows)
        except Exception as error:  # Arrow raises its own kinds on what is damaged
            raise InputError(
                f"{where} cannot be read as a Parquet file ({' '.join(str(error).split())}); "
                "correct the path, or fetch the file again"
            ) from error
        if rows > limits.rows:
            raise InputError(
                f"{where} has {rows:,} rows, more than the {limits.rows:,} that "
                "data.limits.rows allows; set it to more if they are meant"
            )
        twice = [name for name, count in Counter(schema.names).items() if count > 1]
        if twice:
            raise InputError(
                f"{where} has {len(schema.names)} columns, several of them called '{twice[0]}'; "
                "give each its own name"
            )
        return cls(path, where, schema, rows)

    def declared(self, column: str) -> tuple[str, ...] | None:
        """The class names in Hugging Face's metadata of an integer column."""
        try:
            metadata = json.loads((self.schema.metadata or {})[b"huggingface"])
            names = metadata["info"]["features"][column]["names"]
            return tuple(str(name) for name in names)
        except (KeyError, ValueError, TypeError):
            return None

    def check(self, columns: Sequence[str], key: str) -> None:
        """Refuses a missing column.

        Raises:
            InputError: With the columns that are.
        """
        for column in columns:
            if column not in self.schema.names:
                raise InputError(
                    f"{self.where} has no column '{column}', only "
                    f"{', '.join(self.schema.names[:20])}; correct {key}"
                )

    def cells(self, column: str) -> list[Any]:
        """The values of a column, None for missing ones."""
        return self._read(column).to_pylist()

    def texts(self, column: str, what: str) -> list[str]:
        """A column of names: text, whole numbers or booleans.

        Labels may be floats, as pandas makes of whole numbers with a gap among them.

        Raises:
            InputError: If a row has none, or they are of another kind.
        """
        import pyarrow

        kind = self.schema.field(column).type
        is_number = pyarrow.types.is_floating(kind) and what == "label"
        if not (_is_text(kind) or pyarrow.types.is_integer(kind) or is_number) and not (
            pyarrow.types.is_boolean(kind)
        ):
            raise InputError(
                f"{self.where}: column '{column}' is of type {kind}, and a column of {what}s holds "
                "text or whole numbers; name another one, or save it so"
            )
        cells = self.cells(column)
        nothing = {cell for cell in set(cells) if _names_nothing(cell)}
        if nothing:
            row = next(row for row, cell in enumerate(cells) if cell in nothing)
            raise InputError(
                f"{self.where}: column '{column}' has no {what} in row {row}; add it or remove the "
                "row"
            )
        if is_number and all(cell.is_integer() for cell in cells):
            cells = [int(cell) for cell in cells]
        return [str(cell) for cell in cells]

    def numbers(self, column: str) -> np.ndarray:
        """A column of numbers, float64 with NaN for what is missing.

        Raises:
            InputError: If it holds something else, or a number that is not finite.
        """
        import pyarrow

        kind = self.schema.field(column).type
        leave = "; or name the columns that are features in the source's columns"
        if pyarrow.types.is_nested(kind):
            raise InputError(
                f"{self.where}: column '{column}' is nested ({kind}), and a feature is one number "
                f"a row; flatten it into columns of numbers{leave}"
            )
        if pyarrow.types.is_temporal(kind):
            raise InputError(
                f"{self.where}: column '{column}' ({kind}) {not_a_number('1:00')}{leave}"
            )
        numeric = pyarrow.types.is_integer(kind) or pyarrow.types.is_floating(kind)
        if not (numeric or pyarrow.types.is_boolean(kind) or pyarrow.types.is_decimal(kind)):
            what = not_a_number("text", marks=False)
            raise InputError(f"{self.where}: column '{column}' ({kind}) {what}{leave}")
        stored = self._read(column)
        array = stored.cast(pyarrow.float64(), safe=False)
        values = array.to_numpy(zero_copy_only=False).astype(np.float64)
        known = values[~np.isnan(values)]
        is_long = pyarrow.types.is_integer(kind) and np.abs(known).max(initial=0) >= EXACT
        if is_long and len(np.unique(known)) < len(stored.drop_null().unique()):
            raise InputError(
                f"{self.where}: column '{column}' has different whole numbers that are the same in "
                f"double precision, at a size of {np.abs(known).max():g}; name it in the source's "
                "ignore if it counts or names rows, or subtract an offset from it"
            )
        if np.isinf(values).any():
            row = int(np.flatnonzero(np.isinf(values))[0])
            raise InputError(
                f"{self.where}: column '{column}' has no finite number in row {row}; correct it"
            )
        return values

    def categories(self, column: str) -> tuple[np.ndarray, list[str]]:
        """A column of categories: codes of its texts, float64 with NaN where missing.

        Raises:
            InputError: If its cells are lists or structures.
        """
        import pyarrow

        kind = self.schema.field(column).type
        if pyarrow.types.is_nested(kind):
            raise InputError(
                f"{self.where}: column '{column}' is nested ({kind}), and a category is one text "
                "or whole number a row; flatten it into columns, or name it in the source's ignore"
            )
        cells = self.cells(column)
        places: dict[str, int] = {}
        codes = [
            np.nan if _names_nothing(cell) else places.setdefault(str(cell), len(places))
            for cell in cells
        ]
        return np.array(codes, np.float64), list(places)

    def is_picture(self, column: str) -> bool:
        """Whether a column holds pictures: bytes, or Hugging Face's image type."""
        import pyarrow

        kind = self.schema.field(column).type
        if pyarrow.types.is_struct(kind):
            return {kind.field(i).name for i in range(kind.num_fields)} == {"bytes", "path"}
        return pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind)

    def pictures(self, column: str) -> list[Path | bytes]:
        """The content of each picture, or its file where the column has its path alone.

        Raises:
            InputError: If a row has neither, or there is no such file.
        """
        found: list[Path | bytes] = []
        for row, cell in enumerate(self.cells(column)):
            content = cell.get("bytes") if isinstance(cell, dict) else cell
            path = cell.get("path") if isinstance(cell, dict) else None
            if not content and not path:
                raise InputError(
                    f"{self.where}: column '{column}' has no picture in row {row}; remove the row"
                )
            beside = self.path.parent / str(path)
            if not content and (content is not None or not beside.is_file()):
                lies = "" if content is not None else f", and there is no file '{beside}'"
                raise InputError(
                    f"{self.where}: column '{column}' has only the path '{path}' in row {row}{lies}"
                    ": the picture's bytes are not in the Parquet file; save it with the bytes of "
                    "all pictures, or put the picture files where the paths (seen from its folder) "
                    "say, with bytes null"
                )
            found.append(content or beside)
        return found

    def pictures_beside(self, column: str) -> list[Path]:
        """The picture files whose paths, but not contents, are in the column.

        Raises:
            InputError: As `pictures`.
        """
        import pyarrow

        if not pyarrow.types.is_struct(self.schema.field(column).type):
            return []
        footer = _pyarrow(self.where).ParquetFile(self.path).metadata
        for group in range(footer.num_row_groups):
            for place in range(footer.num_columns):
                part = footer.row_group(group).column(place)
                content = part.path_in_schema == f"{column}.bytes"
                if content and (part.statistics is None or part.statistics.null_count != 0):
                    return [each for each in self.pictures(column) if isinstance(each, Path)]
        return []

    def _read(self, column: str) -> Any:
        try:
            return (
                _pyarrow(self.where)
                .read_table(self.path, columns=[column])[column]
                .combine_chunks()
            )
        except Exception as error:
            raise InputError(
                f"{self.where}: column '{column}' cannot be read ({' '.join(str(error).split())}); "
                "fetch the file again"
            ) from error


def _names_nothing(cell: Any) -> bool:
    """Whether a cell is missing, blank, or a float that is not finite."""
    is_number = isinstance(cell, float)
    return cell is None or not (math.isfinite(cell) if is_number else normal(str(cell)))


def _is_text(kind: Any) -> bool:
    import pyarrow

    if pyarrow.types.is_dictionary(kind):
        kind = kind.value_type
    return pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind)


def _pyarrow(where: str) -> Any:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise InputError(
            f"{where} is read with pyarrow, which is not installed; install fedlab-sim[sim]"
        ) from error
    return parquet
