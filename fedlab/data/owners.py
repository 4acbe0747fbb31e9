"""Owners of samples: a writer, a patient, a sensor, a hospital."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

import numpy as np

from fedlab.data.class_names import in_order, normal
from fedlab.data.samples import Domain
from fedlab.data.source import LoadContext
from fedlab.errors import InputError

OwnerSplit = Literal["within_owners", "by_owner"]
"""How samples with owners are split: every owner's own samples, or owner by owner."""


class Owners(NamedTuple):
    """The owners of some samples.

    Attributes:
        codes: Index of each sample's owner among `names`, int64 of shape (n,).
        names: Their names, in their order: as numbers where all are plain integers.
    """

    codes: np.ndarray
    names: tuple[str, ...]

    def take(self, rows: np.ndarray) -> Owners:
        """The owners of some of the samples; the list of names stays complete."""
        return Owners(self.codes[rows], self.names)


def owned(domain: Domain, owners: Owners | None) -> Domain:
    """The same domain with the owners of its samples.

    Args:
        domain: A domain of both splits.
        owners: Those of the training samples, then those of the test samples; None if it has none.
    """
    if owners is None:
        return domain
    train, test = np.split(owners.codes, [len(domain.train_labels)])
    return replace(domain, train_owners=train, test_owners=test, owner_names=owners.names)


def numbered(cells: Sequence[str] | np.ndarray, where: str) -> Owners:
    """Owners by their names in a column of a table or an array.

    Args:
        cells: The owner of each sample, as text or whole numbers, shape (n,).
        where: The key and the column or array, for errors.

    Raises:
        InputError: If a name is missing, or they are no names.
    """
    array = names_of(np.asarray(cells), where)
    found, codes = np.unique(array, return_inverse=True)
    spelt = [normal(str(name)) for name in found]
    if "" in spelt:
        row = int(np.flatnonzero(codes == spelt.index(""))[0])
        raise InputError(f"{where} names no owner for sample {row}; name one, or remove the sample")
    names = tuple(in_order(spelt))
    place = {name: index for index, name in enumerate(names)}
    return Owners(np.array([place[name] for name in spelt], np.int64)[codes.reshape(-1)], names)


def names_of(array: np.ndarray, where: str) -> np.ndarray:
    """An array of owners, bytes decoded.

    Args:
        array: Text or whole numbers, shape (n,).
        where: As for `numbered`.

    Raises:
        InputError: If it is something else.
    """
    if array.ndim != 1 or array.dtype.kind not in "iubUSO":
        raise InputError(
            f"{where} has the shape {array.shape} and type {array.dtype}; owners must be text or "
            "whole numbers of shape (n,), one for each sample; save them so"
        )
    return np.char.decode(array, "utf-8", "replace") if array.dtype.kind == "S" else array


def refuse_constant(names: Sequence[str], where: str, context: LoadContext) -> None:
    """Refuses samples that are all of one owner, unless they are those of one client.

    Raises:
        InputError: If there is one name alone.
    """
    if len(set(names)) == 1 and not context.single_client:
        raise InputError(
            f"{where} names one owner alone, '{names[0]}', for all samples; name what "
            "distinguishes owners, or leave it out"
        )


def refuse_spanning(domains: Sequence[Domain], where: str) -> None:
    """Refuses owners with samples in several domains, of which each draws its test owners.

    Raises:
        InputError: With the first.
    """
    home: dict[str, str] = {}
    for domain in domains:
        for name in domain.owner_names:
            other = home.setdefault(name, domain.name)
            if other != domain.name:
                raise InputError(
                    f"{where} needs owners of one domain each, and '{name}' is in '{other}' and in "
                    f"'{domain.name}'; use split: within_owners, or give different owners "
                    "different names"
                )


def pooled_owners(domains: Sequence[Domain]) -> tuple[tuple[str, ...], list[np.ndarray]]:
    """The names of all owners, and for each domain the indices of its owners among them.

    Args:
        domains: The domains to pool.

    Returns:
        The names, and for every domain int64 of shape (its owners + 1,): the index of each owner,
        and -1, for samples without an owner, at the end.
    """
    names = in_order({name for domain in domains for name in domain.owner_names})
    place = {name: index for index, name in enumerate(names)}
    numbers = [[*(place[name] for name in domain.owner_names), -1] for domain in domains]
    return tuple(names), [np.array(own, np.int64) for own in numbers]


def check_owners(domain: Domain, split: str, where: str) -> None:
    """Checks the owners of one split of a domain, as its source yields them.

    Raises:
        InputError: If they are not an index for each sample, or have no names.
    """
    owners, labels = getattr(domain, f"{split}_owners"), getattr(domain, f"{split}_labels")
    if owners is None:
        if domain.owner_names:
            raise InputError(
                f"{where} has no owners, but the domain names {len(domain.owner_names)}; give "
                "both splits theirs"
            )
        return
    if not isinstance(owners, np.ndarray) or owners.dtype.kind not in "iu":
        raise InputError(f"{where} has owners that are no array of integers; give their indices")
    names = len(domain.owner_names)
    if owners.shape != (len(labels),) or (owners.min() < 0 or owners.max() >= names):
        raise InputError(
            f"{where} has {len(labels)} labels but owners of shape {owners.shape}, from "
            f"{owners.min()} to {owners.max()}, and {names} names of owners; give each sample the "
            "index of its owner's name"
        )


_WHOLE = re.compile(r"([+-]?\d{1,18})(?:\.0*)?")


def alike(names: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs of names that differ in capitals, underscores, width or the form of a number alone.

    Args:
        names: Different names in their normal form; of several that are alike, the first is in
            every pair.
    """
    first: dict[str, str] = {}
    pairs: list[tuple[str, str]] = []
    for name in names:
        plain = " ".join(unicodedata.normalize("NFKC", name).replace("_", " ").casefold().split())
        whole = _WHOLE.fullmatch(plain)
        other = first.setdefault(str(int(whole[1])) if whole else plain, name)
        if other != name:
            pairs.append((other, name))
    return pairs


def spelling_remark(names: Sequence[str], hidden: bool) -> list[str]:
    """A remark on owners whose names are spelt alike, as several of one person are; else none.

    Args:
        names: Names of all owners.
        hidden: Whether no name may be shown.
    """
    pairs = alike(names)
    if not pairs:
        return []
    number, (one, other) = len(pairs), pairs[0]
    shown = "" if hidden else f" ('{one}' and '{other}'{', for one' * (number > 1)})"
    pair = "a pair of owners differs" if number == 1 else f"{number:,} pairs of owners differ"
    return [
        f"data.sources: {pair} in the spelling of their names alone{shown}, and each name is an "
        "owner of its own; if two are one owner, give it one spelling in the data"
    ]
