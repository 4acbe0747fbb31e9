"""Categorical columns of tables as numbers: one-hot columns, or codes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from fedlab.data.class_names import in_order, normal
from fedlab.data.remarks import listed
from fedlab.errors import InputError

Encoding = Literal["one_hot", "codes"]

MOST = 1000
"""Categories of a column; more are names or numbers."""


def check_encoding(encoding: Encoding, categorical: Sequence[int | str]) -> None:
    """Refuses an encoding where there are no categorical columns.

    Raises:
        ValueError: With the remedy.
    """
    if encoding != "one_hot" and not categorical:
        raise ValueError(f"encoding: {encoding} is of categorical columns; name some")


class Categories(NamedTuple):
    """The texts of the categorical columns of all files, by the name of the column."""

    texts: dict[str, list[str]]

    @classmethod
    def of(cls, tables: Sequence[Mapping[str, list[str]]], key: str) -> Categories:
        """The categories of several tables together.

        Raises:
            InputError: If there are too many for one column.
        """
        texts: dict[str, set[str]] = {}
        for table in tables:
            for column, own in table.items():
                texts.setdefault(column, set()).update(map(normal, own))
        for column, own in texts.items():
            if len(own) > MOST:
                raise InputError(
                    f"{key}.categorical: {column} has {len(own):,} different values, which are no "
                    f"categories (at most {MOST:,}); encode it as numbers, or leave it out"
                )
        return cls({column: in_order(own) for column, own in texts.items()})

    def renumbered(
        self, features: np.ndarray, columns: Sequence[str], own: Mapping[str, list[str]]
    ) -> np.ndarray:
        """One file's features, with its texts' codes replaced by those among all files.

        Args:
            features: Shape (n, features), whose categorical columns hold places among `own`.
            columns: Names of the features.
            own: The file's texts, by column.
        """
        features = features.copy()
        for column, texts in self.texts.items():
            place = [texts.index(normal(text)) for text in own.get(column, [])]
            values = features[:, list(columns).index(column)]
            known = ~np.isnan(values)
            values[known] = np.array(place, np.float64)[values[known].astype(np.int64)]
        return features

    def encoded(
        self,
        splits: Sequence[np.ndarray],
        learnt: np.ndarray,
        columns: Sequence[str],
        encoding: Encoding,
        key: str,
    ) -> tuple[list[np.ndarray], list[str], list[str]]:
        """Splits with numbers for categorical columns.

        Categories are those of the rows that are learnt from. A cell that is missing, or of a
        category that no client learns from, is 0 in all columns of ``one_hot``, and one above the
        last of ``codes``; a remark has their number.

        Args:
            splits: Shape (n, features) each.
            learnt: The training rows of the domains that clients may see.
            columns: Names of the features.
            encoding: How they become numbers.
            key: Key of the source.

        Returns:
            The splits, names of their columns, and remarks.
        """
        parts: list[list[np.ndarray]] = [[] for _ in splits]
        names, remarks = [], []
        for index, column in enumerate(columns):
            if column not in self.texts:
                names.append(column)
                for part, split in zip(parts, splits, strict=True):
                    part.append(split[:, [index]])
                continue
            texts = self.texts[column]
            values = learnt[:, index]
            known = np.unique(values[~np.isnan(values)])
            if not len(known):
                raise InputError(
                    f"{key}.categorical: no training row has a value for {column}; remove that "
                    "column from all files"
                )
            place = np.full(len(texts) + 1, len(known))
            place[known.astype(np.int64)] = np.arange(len(known))
            places = [
                place[np.where(np.isnan(own), len(texts), own).astype(np.int64)]
                for own in (split[:, index] for split in splits)
            ]
            if encoding == "one_hot":
                names += [f"{column}={texts[int(each)]}" for each in known]
                made = [(own[:, None] == np.arange(len(known))).astype(float) for own in places]
            else:
                names.append(column)
                made = [own[:, None].astype(float) for own in places]
            for part, own in zip(parts, made, strict=True):
                part.append(own)
            missing = sum(int(np.isnan(split[:, index]).sum()) for split in splits)
            strange = sum(int((own == len(known)).sum()) for own in places) - missing
            what = "0 in every column" if encoding == "one_hot" else f"the code {len(known)}"
            if missing:
                remarks.append(f"{key}.categorical: {column} is missing {missing:,} times: {what}")
            if strange:
                found = np.unique(np.concatenate([split[:, index] for split in splits]))
                new = [texts[int(each)] for each in np.setdiff1d(found[~np.isnan(found)], known)]
                remarks.append(
                    f"{key}.categorical: {column} has categories that no training row has "
                    f"({listed(new)}) {strange:,} times: {what}"
                )
        return [np.concatenate(part, axis=1) for part in parts], names, remarks
