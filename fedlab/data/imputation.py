"""Imputation of missing values of a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from fedlab.data.remarks import counted
from fedlab.data.samples import Domain
from fedlab.data.source import LoadContext
from fedlab.data.stored_numbers import stored
from fedlab.data.table_rows import all_splits, learnt, with_inputs
from fedlab.errors import InputError

Impute = Literal["median", "mean", "drop"]
"""A feature's median or mean over the training rows; ``drop`` leaves incomplete rows out before."""

NAMED = 5
"""Columns with filled cells that a remark names."""


def filled(
    domains: list[Domain], columns: Sequence[str], impute: Impute, context: LoadContext
) -> tuple[list[Domain], list[str]]:
    """The same domains without missing values, in their stored type; remarks on imputed cells.

    Args:
        domains: With NaN where a value is missing.
        columns: Names of the features.
        impute: What a missing value becomes.
        context: Names the unseen domains, whose rows are not looked at, and the source's key.

    Raises:
        InputError: If a feature has no value in any training row.
    """
    pooled = learnt(domains, context)
    absent = np.flatnonzero(np.isnan(pooled).all(axis=0))
    if len(absent):
        raise InputError(
            f"{context.key}.files: no training row has a value for {columns[absent[0]]}; "
            "remove that column from all files, or name it in the source's ignore"
        )
    middle = np.nanmean(pooled, 0) if impute == "mean" else np.nanmedian(pooled, 0)
    splits = all_splits(domains)
    empty = np.sum([np.isnan(split).sum(axis=0) for split in splits], axis=0)
    complete = stored([np.where(np.isnan(split), middle, split) for split in splits])
    return with_inputs(domains, complete), _remarks(columns, empty, middle, impute, context.key)


def _remarks(
    columns: Sequence[str], empty: np.ndarray, middle: np.ndarray, impute: Impute, key: str
) -> list[str]:
    """Remarks on how many cells of which columns were imputed, and by what."""
    every = zip(columns, empty, middle, strict=True)
    found = [(int(count), name, float(value)) for name, count, value in every if count]
    if not found:
        return []
    found.sort(key=lambda each: -each[0])
    shown = ", ".join(f"{name}: {count:,} with {value:g}" for count, name, value in found[:NAMED])
    more = f", and {len(found) - NAMED:,} more columns" if len(found) > NAMED else ""
    cells = counted({"missing cell{s}": sum(count for count, _, _ in found)})
    return [f"{key}.impute: filled {cells} with the {impute} of the training rows ({shown}{more})"]
