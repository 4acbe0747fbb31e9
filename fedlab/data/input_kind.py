"""The kind of inputs: pixels of images, measurements, or ids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from fedlab.data.ids import Ids
from fedlab.data.samples import Domain
from fedlab.errors import InputError

UNSTATED_VOCABULARY = 10_000_000
"""The largest number of ids that is taken from the samples; more have to be stated."""

Kind = Literal["images", "numbers", "ids"]
Stated = Literal["auto"] | Kind


def kind_of(stated: Stated, dtype: np.dtype, normalised: bool, are_ids: bool = False) -> Kind:
    """The kind of inputs, from what the scenario says and the type of the numbers.

    Args:
        stated: ``data.inputs``. ``auto`` takes uint8 for images, and whole numbers that are not to
            be normalised for ids.
        dtype: Of the inputs.
        normalised: Whether ``data.normalisation`` is anything but ``none``.
        are_ids: Whether the source says that they are ids.
    """
    if stated != "auto":
        return stated
    if dtype == np.uint8:
        return "images"
    if are_ids:
        return "ids"
    return "ids" if np.issubdtype(dtype, np.integer) and not normalised else "numbers"


def ids_of(domains: Sequence[Domain], stated: Ids) -> Ids:
    """Vocabulary and padding of the ids of all domains, checked.

    Args:
        domains: All that are pooled, with int64 inputs of shape (n, length).
        stated: The scenario's ``data.ids``.

    Raises:
        InputError: If an id is none of the vocabulary, or two domains have different ones.
    """
    of_sources = [domain.ids for domain in domains]
    if any(each != of_sources[0] for each in of_sources):
        other = next(domain.name for domain in domains if domain.ids != of_sources[0])
        raise InputError(
            f"data.sources: the ids of domain '{other}' are of another vocabulary than those of "
            f"'{domains[0].name}'; read both by one source, or give both the same tokenizer"
        )
    source = of_sources[0] or Ids()
    if source.vocabulary and stated.vocabulary and stated.vocabulary < source.vocabulary:
        raise InputError(
            f"data.ids.vocabulary: {stated.vocabulary} is less than the {source.vocabulary} of the "
            "source; leave it out, or give more"
        )
    if source.pad is not None and stated.pad not in (None, source.pad):
        raise InputError(
            f"data.ids.pad: {stated.pad} is not what the source fills up with, {source.pad}; leave "
            "it out"
        )
    pad = source.pad if stated.pad is None else stated.pad
    arrays = {d.name: (d.train_inputs, d.test_inputs) for d in domains}
    lowest = {name: min(int(each.min(initial=0)) for each in own) for name, own in arrays.items()}
    where = min(lowest, key=lambda name: lowest[name])
    if lowest[where] < 0:
        raise InputError(
            f"data.sources: the ids of domain '{where}' go down to {lowest[where]}; number them "
            "from 0, or say data.inputs=numbers if they are measurements"
        )
    largest = {name: max(int(each.max(initial=0)) for each in own) for name, own in arrays.items()}
    size = stated.vocabulary or source.vocabulary
    if size is None:
        size = 1 + max(*largest.values(), pad or 0, 0)
        if size > UNSTATED_VOCABULARY:
            where = max(largest, key=lambda name: largest[name])
            raise InputError(
                f"data.ids.vocabulary: the largest id of domain '{where}' is {size - 1:,}, and a "
                "network has a vector for every id up to it; number the ids from 0 without gaps, "
                f"or set data.ids.vocabulary to {size} if so many are meant"
            )
    for name, most in largest.items():
        if most >= size:
            raise InputError(
                f"data.ids.vocabulary: domain '{name}' has the id {most}, and a vocabulary of "
                f"{size} has the ids 0 to {size - 1}; set it to {most + 1} or more, or correct the "
                "data"
            )
    return Ids(vocabulary=size, pad=pad, length=int(domains[0].train_inputs.shape[1]))
