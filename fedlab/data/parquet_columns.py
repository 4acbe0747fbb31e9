"""Each column of a Parquet table has one purpose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def check_purposes(
    single: Mapping[str, str | None],
    columns: Sequence[str],
    categorical: Sequence[str],
    ignore: Sequence[str],
) -> None:
    """Refuses a source that names a column for two purposes.

    Args:
        single: The columns that are no features, by key; None where there is none.
        columns: All features, where they are named.
        categorical: Features that are categories.
        ignore: Columns that are not read.

    Raises:
        ValueError: With the keys and the column.
    """
    if columns and ignore:
        raise ValueError("columns names all features; leave ignore out")
    features = dict.fromkeys(columns, "columns") | dict.fromkeys(categorical, "categorical")
    if both := [column for column in ignore if column in features]:
        raise ValueError(f"ignore and categorical name '{both[0]}'; leave it out of one of them")
    for key, column in single.items():
        if column in features:
            raise ValueError(
                f"{features[column]} names '{column}', which {key} names, too; a column has "
                "one use: leave it out of one of them"
            )
        if key != "label" and column == single["label"]:
            raise ValueError(
                f"{key} names '{column}', which label names, too; give each its own column"
            )
