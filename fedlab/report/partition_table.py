"""A partition as a table: one row for every sample, with its client."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np

from fedlab.data.samples import FederatedData, Samples
from fedlab.errors import InputError
from fedlab.partition.partition import Partition

COLUMNS = ("split", "sample", "client", "domain", "class", "label", "labelled")
HELD_OUT = "held_out"
PIECE = 1 << 16
"""Samples that are Python objects at a time: those of a million clients would take a gigabyte."""


def write_table(partition: Partition, data: FederatedData, path: Path) -> None:
    """Writes a CSV file with a row for every sample that the sources yield.

    The columns: the split (``train``, ``validation`` or ``test``); the sample's number within its
    domain's training or test samples, in the order of the source; the client, empty where no client
    has it; its domain; its true class; the label that the client sees; whether it is among the
    client's labelled samples. With label proportions, the label is the number of the sample's bag.
    What is tested or validated on has its true label. Where other
    targets than classes are learnt, class and label are the labels joined by ``+``, or the numbers.
    Where a source names owners, a column has them; where clients are held out of training, a last
    one has whether the sample's client is one of them.

    Args:
        partition: Who owns which samples.
        data: The pools they come from.
        path: File to write.

    Raises:
        InputError: If it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            held_out = set(partition.held_out.tolist())
            more = [*["owner"] * bool(data.owner_names), *[HELD_OUT] * bool(held_out)]
            writer.writerow([*COLUMNS, *more])
            for row in chain(_train_rows(partition, data), _test_rows(partition, data)):
                mark = "yes" if row[2] in held_out else "no"
                writer.writerow([*row, mark] if held_out else row)
    except OSError as error:
        raise InputError(
            f"the table cannot be written to '{path}': {error.strerror or error}; choose another "
            "file"
        ) from error


def _train_rows(partition: Partition, data: FederatedData) -> Iterator[tuple[object, ...]]:
    labels, labelled = data.train.labels.copy(), np.ones(len(data.train), bool)
    labelled[partition.train] = partition.labelled
    bags = np.full(len(data.train), -1)
    if len(partition.bags):
        bags[partition.train] = partition.bags
    else:
        labels[partition.train] = partition.labels
    owners = _owners(len(data.train), partition.train, partition.train_offsets)
    splits = np.full(len(data.train), "train", dtype=object)
    if len(partition.validation_offsets):
        aside = _owners(len(data.train), partition.validation, partition.validation_offsets)
        splits[aside >= 0] = "validation"
        owners = np.maximum(owners, aside)
    rows = _rows(splits, data, data.train, owners, labels, labelled)
    if not len(partition.bags):
        return rows
    hidden = np.isin(np.arange(len(data.train)), partition.train)
    return (
        (*row[:5], f"bag {bag}" if bag >= 0 else "", *row[6:]) if unknown else row
        for row, bag, unknown in zip(rows, bags.tolist(), hidden.tolist(), strict=True)
    )


def _test_rows(partition: Partition, data: FederatedData) -> Iterator[tuple[object, ...]]:
    owners = _owners(len(data.test), partition.test, partition.test_offsets)
    labelled = np.ones(len(data.test), bool)
    splits = np.full(len(data.test), "test", dtype=object)
    return _rows(splits, data, data.test, owners, data.test.labels, labelled)


def _owners(samples: int, indices: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """The client of every sample of a pool; -1 for unused samples."""
    owners = np.full(samples, -1)
    owners[indices] = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    return owners


def _rows(
    splits: np.ndarray,
    data: FederatedData,
    pool: Samples,
    owners: np.ndarray,
    labels: np.ndarray,
    labelled: np.ndarray,
) -> Iterator[tuple[object, ...]]:
    starts = np.searchsorted(pool.domains, np.arange(len(data.domain_names)))
    numbers = np.arange(len(pool)) - starts[pool.domains]
    of = np.zeros(len(pool), np.int64) if pool.owners is None else pool.owners
    columns = (splits, numbers, owners, pool.domains, labelled, of)
    names = data.owner_names
    for start in range(0, len(pool), PIECE):
        piece = slice(start, start + PIECE)
        texts = (data.target.texts(each[piece], data.class_names) for each in (pool.labels, labels))
        for split, number, owner, domain, known, name, true, label in zip(
            *(column[piece].tolist() for column in columns), *texts, strict=True
        ):
            yield (
                split,
                number,
                owner if owner >= 0 else "",
                data.domain_names[domain],
                true,
                label,
                "yes" if known else "no",
                *([names[name] if name >= 0 else ""] if names else ()),
            )
