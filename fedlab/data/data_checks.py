"""Checks of every domain before its samples are pooled with those of others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from fedlab.data.class_names import normal
from fedlab.data.mapped_pool import pieces
from fedlab.data.owners import check_owners
from fedlab.data.samples import Domain, FederatedData
from fedlab.data.source import LoadContext
from fedlab.errors import InputError
from fedlab.targets.base import CLASS


def check_loaded(loaded: Any, where: str, ragged: bool = False) -> list[Domain]:
    """The domains that a source has loaded, after a check of their type.

    Args:
        loaded: What it has returned.
        where: What that is, for errors.
        ragged: Whether inputs may be lists of sequences.

    Raises:
        InputError: If it is something else.
    """
    domains = list(loaded) if isinstance(loaded, Iterable) else []
    odd = [type(each).__name__ for each in domains if not isinstance(each, Domain)]
    if odd or not isinstance(loaded, Iterable):
        inside = f" with a {odd[0]} in it" if odd else ""
        raise InputError(
            f"{where} has returned a {type(loaded).__name__}{inside}; it has to be a list of "
            "fedlab.data.samples.Domain"
        )
    for domain in domains:
        for name in ("train_inputs", "train_labels", "test_inputs", "test_labels"):
            array = getattr(domain, name)
            if ragged and isinstance(array, list) and name.endswith("inputs"):
                continue
            if not isinstance(array, np.ndarray):
                raise InputError(
                    f"{where}: {name} of domain '{domain.name}' is a {type(array).__name__}; it "
                    "has to be a numpy array"
                )
    return domains


def check_domain(domain: Domain, context: LoadContext) -> None:
    """Checks shapes, types and values of one domain, as its source yields them.

    Raises:
        InputError: If a split is empty or not of the kind that `Domain` describes; the text names
            the source's key and the domain.
    """
    for name in ("train", "test"):
        where = f"{context.key}: the {name} split of domain '{domain.name}'"
        inputs = getattr(domain, f"{name}_inputs")
        labels = getattr(domain, f"{name}_labels")
        if not len(labels):
            raise InputError(
                f"{where} is empty{_why_empty(domain, name)}; give the domain more samples or "
                "leave it out of data.domains"
            )
        _check_inputs(inputs, where, context)
        context.target.check(labels, len(inputs), domain.class_names, where)
        check_owners(domain, name, where)
    if domain.train_inputs.shape[1:] != domain.test_inputs.shape[1:]:
        raise InputError(
            f"{context.key}: domain '{domain.name}' has samples of shape "
            f"{domain.train_inputs.shape[1:]} in its train split and "
            f"{domain.test_inputs.shape[1:]} in its test split; give both the same columns"
        )


def _why_empty(domain: Domain, split: str) -> str:
    """The reason why owners leave a domain without test samples, in words."""
    owners = domain.train_owners
    if split == "train" or owners is None or not len(owners) or np.bincount(owners).max() > 1:
        return ""
    return ", as each owner has a single sample, which it trains on (name another column as owner?)"


def _remedy(shape: tuple[int, ...]) -> str:
    """What to do about images of another shape than the scenario's."""
    bring = "let the source bring them to that shape"
    if len(shape) != 3 or shape[0] not in (1, 3) or shape[1] != shape[2]:
        return bring
    return f"set data.channels to {shape[0]} and data.image_size to {shape[1]}, or {bring}"


def _check_inputs(inputs: np.ndarray, where: str, context: LoadContext) -> None:
    """Checks that inputs are images of the scenario's shape, ids, or finite numbers."""
    _check_kind(inputs, where, context)
    if inputs.dtype == np.uint8:
        image = (context.channels, context.image_size, context.image_size)
        if inputs.shape[1:] != image:
            raise InputError(
                f"{where} has images of shape {inputs.shape[1:]}, but data.channels and "
                f"data.image_size ask for {image}; {_remedy(inputs.shape[1:])}"
            )
    elif not _holds_numbers(inputs, context.inputs):
        raise InputError(
            f"{where} has inputs of type {inputs.dtype} and shape {inputs.shape}; images must be "
            "uint8 (n, channels, height, width), numbers float32, float64 or int64 of shape "
            "(n, features) or (n, channels, length), or with data.inputs=numbers of any shape, "
            "channels first"
        )
    elif 0 in inputs.shape:
        raise InputError(f"{where} has samples without a number in them, {inputs.shape}; give some")
    else:
        _check_finite(inputs, where)


def _check_finite(inputs: np.ndarray, where: str) -> None:
    """Checks numbers a piece at a time, for they need not be in memory."""
    before = 0
    for piece in pieces(inputs):
        if not np.isfinite(piece).all():
            sample = before + int(np.argwhere(~np.isfinite(piece))[0, 0])
            raise InputError(
                f"{where} has features that are not finite, the first in its sample {sample}; "
                "replace them in the source"
            )
        before += len(piece)


def _holds_numbers(inputs: np.ndarray, stated: str) -> bool:
    """Whether inputs are numbers; of more than 3 axes only where ``data.inputs`` says so."""
    is_clear = inputs.ndim in (2, 3) or (stated == "numbers" and inputs.ndim > 3)
    return inputs.dtype in (np.float32, np.float64, np.int64) and is_clear


def _check_kind(inputs: np.ndarray, where: str, context: LoadContext) -> None:
    """Checks that inputs are what ``data.inputs`` says."""
    if inputs.dtype == np.object_:
        raise InputError(
            f"{where} has samples of different lengths (an array of objects); cut or fill them up "
            "to one shape in the source, or say data.inputs=ids and data.ids.pad if they are ids"
        )
    if context.inputs == "images" and inputs.dtype != np.uint8:
        raise InputError(
            f"{where} has inputs of type {inputs.dtype}, and data.inputs says 'images', which are "
            "uint8; use data.inputs=numbers for measurements on a grid"
        )
    if context.inputs == "numbers" and inputs.dtype == np.uint8:
        raise InputError(
            f"{where} has images (uint8), and data.inputs says 'numbers'; leave data.inputs out, "
            "or let the source yield float32"
        )


def check_together(domains: Sequence[tuple[Domain, LoadContext]]) -> None:
    """Checks that domains have the same classes and the same kind of input.

    Args:
        domains: The domains to pool, each with the context that it was loaded in.

    Raises:
        InputError: If two domains do not go together; the text names both and their sources.
    """
    first, first_context = domains[0]
    for domain, context in domains[1:]:
        if comparable(domain.class_names) != comparable(first.class_names):
            raise InputError(
                f"{context.key}: domain '{domain.name}' has the {context.target.nouns[1]} "
                f"{_listed(domain.class_names)}, but '{first.name}' of {first_context.key} has "
                f"{_listed(first.class_names)}; all domains need the same "
                f"{context.target.nouns[1]} in the same "
                "order (set class_names where the source has it)"
            )
        shape, first_shape = domain.train_inputs.shape[1:], first.train_inputs.shape[1:]
        if shape != first_shape:
            raise InputError(
                f"{context.key}: samples of domain '{domain.name}' have the shape {shape}, but "
                f"those of '{first.name}' of {first_context.key} have {first_shape}; "
                "pool only sources of one kind"
            )


def foreign_remarks(data: FederatedData) -> list[str]:
    """A remark on domains that have no class in common with any other.

    Args:
        data: The pooled samples.
    """
    if data.target.kind != CLASS or len(data.domain_names) < 2:
        return []
    own: list[set[int]] = [set() for _ in data.domain_names]
    for split in (data.train, data.test):
        for domain, classes in enumerate(own):
            classes.update(np.unique(split.labels[split.domains == domain]).tolist())
    alone = [
        name
        for domain, name in enumerate(data.domain_names)
        if not own[domain] & set().union(*own[:domain], *own[domain + 1 :])
    ]
    if not alone:
        return []
    first = own[data.domain_names.index(alone[0])]
    has = "has" if len(alone) == 1 else "have"
    return [
        f"data.sources: {', '.join(alone)} {has} no class in common with any other domain "
        f"('{alone[0]}' has {_listed([data.class_names[each] for each in sorted(first)])}), so "
        "that accuracy across domains says nothing; give one class one name everywhere, if they "
        "are the same"
    ]


def check_classes(data: FederatedData) -> None:
    """Checks that there are two classes or more; a single device may lack some of them.

    Raises:
        InputError: If there is one class.
    """
    data.target.check_names(data.class_names)


def comparable(class_names: Sequence[str]) -> list[str]:
    """Class names in their normal form; ``07`` and ``7`` are two classes."""
    return [normal(name) for name in class_names]


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:6])
    return f"{len(names)} ({shown}{', ...' if len(names) > 6 else ''})"
