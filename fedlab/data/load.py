"""All samples of a scenario in two arrays, one for training and one for testing."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from fedlab import rng
from fedlab.data.array_cache import is_cached, load_cached
from fedlab.data.data_checks import check_domain, check_loaded, check_together, foreign_remarks
from fedlab.data.feature_names import common_names, in_one_order
from fedlab.data.ids import Ids
from fedlab.data.input_kind import ids_of, kind_of
from fedlab.data.mapped_pool import pooled
from fedlab.data.owners import pooled_owners
from fedlab.data.remarks import log_remarks
from fedlab.data.samples import Domain, FederatedData, Samples
from fedlab.data.sequences import fitted
from fedlab.data.source import LoadContext, Source
from fedlab.data.spec import DataSpec, Normalisation
from fedlab.data.stratify import choose
from fedlab.errors import InputError


def load_data(
    spec: DataSpec, base: Path | None = None, single_client: bool = False
) -> FederatedData:
    """Loads all sources and pools their domains; a pure function of the spec and the files.

    Args:
        spec: The scenario's ``data`` block.
        base: Folder that a relative ``data.root`` starts from; the current one by default.
        single_client: Whether all samples are those of one client.

    Returns:
        The domains named by ``data.domains``, in that order, or all in the order of the sources.

    Raises:
        InputError: If a source cannot be read, its domains do not go together, or a named domain
            does not exist; the text names the key of the scenario and the remedy.
    """
    domains = in_one_order(_load(spec, base or Path.cwd(), single_client))
    names, target = tuple(domain.name for domain in domains), spec.target
    owner_names, numbers = pooled_owners(domains)
    data = FederatedData(
        train=_pool(domains, "train", spec, numbers),
        test=_pool(domains, "test", spec, numbers),
        domain_names=names,
        class_names=domains[0].class_names,
        unseen_domains=tuple(sorted(names.index(name) for name in spec.unseen_domains)),
        ids=_ids(spec, domains),
        owner_names=owner_names,
        feature_names=common_names(domains),
    )
    seen = np.isin(data.train.domains, data.seen_domains)
    learnt = target.fitted(data.train.labels[seen])
    data = replace(data, target=learnt)
    log_remarks([*learnt.remarks(data.class_names), *foreign_remarks(data)])
    return data


def pinned(spec: DataSpec, base: Path | None = None) -> DataSpec:
    """The same block, whose sources yield the same samples for ever (`Source.pinned`).

    Args:
        spec: The scenario's ``data`` block.
        base: As for `load_data`.

    Raises:
        InputError: If what a source names cannot be looked up.
    """
    sources = [
        source.pinned(_context(spec, index, base or Path.cwd()))
        for index, source in enumerate(spec.sources)
    ]
    if all(now is then for now, then in zip(sources, spec.sources, strict=True)):
        return spec
    return spec.model_copy(update={"sources": tuple(sources)})


def check_places(spec: DataSpec, base: Path | None = None) -> None:
    """Checks that the named files and domains exist, without reading samples.

    Args:
        spec: The scenario's ``data`` block.
        base: As for `load_data`.

    Raises:
        InputError: If a file is missing, or no source yields a domain that is named.
    """
    spec.limits.check_image_size(spec.image_size)
    found = [
        source.names(_context(spec, index, base or Path.cwd()))
        for index, source in enumerate(spec.sources)
    ]
    if all(names is not None for names in found):
        _selected_names(spec, [name for names in found for name in names or ()])


def _context(spec: DataSpec, index: int, base: Path, single_client: bool = False) -> LoadContext:
    """The context that the source with this index is loaded in."""
    return LoadContext(
        root=(base / spec.root.expanduser()).absolute(),
        channels=spec.channels,
        image_size=spec.image_size,
        seed=spec.seed,
        download=spec.download,
        key=f"data.sources.{index}",
        unseen_domains=spec.unseen_domains,
        domains=spec.domains,
        limits=spec.limits,
        inputs=spec.inputs,
        ids=spec.ids,
        target=spec.target,
        single_client=single_client,
    )


def _load(spec: DataSpec, base: Path, single_client: bool) -> list[Domain]:
    """The domains to keep, in the order asked for, checked."""
    spec.limits.check_image_size(spec.image_size)
    found: dict[str, tuple[Domain, LoadContext]] = {}
    remarks: list[str] = []
    for index, source in enumerate(spec.sources):
        context = _context(spec, index, base, single_client)
        _refuse_other_target(source, context)
        loaded = load_cached(source, context) if is_cached(source) else source.load(context)
        where = f"{context.key}: '{source.name}'.load"
        loaded = check_loaded(loaded, where, ragged=spec.inputs == "ids")
        if spec.inputs == "ids" and loaded:
            kept = [domain for domain in loaded if context.keeps(domain.name)] or loaded
            names = {domain.name for domain in kept}
            left_out = [domain for domain in loaded if domain.name not in names]
            loaded = [*fitted(kept, spec.ids, context.key), *left_out]
        remarks += source.remarks(context)
        derived = source.derive(loaded, context)
        if not derived:
            raise InputError(f"{context.key} yields no domain; check its parameters or remove it")
        for domain in derived:
            if domain.name in found:
                raise InputError(
                    f"{context.key}: the domain name '{domain.name}' is already taken by "
                    f"{found[domain.name][1].key}; give one of them another name"
                )
            found[domain.name] = domain, context
    selected = [found[name] for name in _selected_names(spec, list(found))]
    for domain, context in selected:
        check_domain(domain, context)
    check_together(selected)
    _refuse_other_vocabularies(spec, selected)
    whole = spec.inputs == spec.normalisation == "auto" and selected[0][0].ids is None
    if whole and selected[0][0].train_inputs.dtype == np.int64:
        remarks.append(
            "data.normalisation: 'auto' standardises the whole numbers of the samples; if they "
            "are ids (tokens, categories), data.inputs=ids leaves them as they are"
        )
    if all(domain.train_inputs.dtype != np.uint8 for domain, _ in selected):
        remarks += _of_images_alone(spec)
    log_remarks([*remarks, *(remark for domain, _ in selected for remark in domain.remarks)])
    return [domain for domain, _ in selected]


def _of_images_alone(spec: DataSpec) -> list[str]:
    """Keys of images that a scenario without images sets, as remarks."""
    return [
        f"data.{key}: {value} has no effect, because no source yields images; leave it out"
        for key in ("image_size", "channels")
        if (value := getattr(spec, key)) != DataSpec.model_fields[key].default
    ]


def _refuse_other_vocabularies(
    spec: DataSpec, selected: Sequence[tuple[Domain, LoadContext]]
) -> None:
    """Refuses sources of which each has its own words for the same ids."""
    of_ids = {context.key for domain, context in selected if domain.ids is not None}
    sources = {
        f"data.sources.{index}": source
        for index, source in enumerate(spec.sources)
        if f"data.sources.{index}" in of_ids
    }
    made = [key for key, source in sources.items() if not source.vocabulary_is_fixed]
    tokenizers = {str(getattr(source, "tokenizer", "")) for source in sources.values()}
    if len(sources) > 1 and (made or len(tokenizers) > 1):
        first, second, *_ = sources
        raise InputError(
            f"{second}: an id is another token here than in {first}; read all texts by one source "
            "(its files may name several domains), or give both the same tokenizer, bytes or a file"
        )


def _ids(spec: DataSpec, domains: Sequence[Domain]) -> Ids | None:
    """Vocabulary and padding, where inputs are ids."""
    inputs = domains[0].train_inputs
    are_ids = domains[0].ids is not None
    if kind_of(spec.inputs, inputs.dtype, spec.normalisation != "none", are_ids) != "ids":
        return None
    if isinstance(spec.normalisation, Normalisation):
        raise InputError(
            "data.normalisation has numbers, and the source yields ids, which cannot be scaled; "
            "leave it out"
        )
    splits = [split for each in domains for split in (each.train_inputs, each.test_inputs)]
    if (
        spec.inputs == "auto"
        and not are_ids
        and (inputs.ndim != 2 or min(each.min() for each in splits) < 0)
    ):
        return None  # whole numbers that neither the source nor the scenario calls ids
    return ids_of(domains, spec.ids)


def _refuse_other_target(source: Source, context: LoadContext) -> None:
    """Refuses a source that has no labels of the kind that is to be learnt."""
    target = context.target
    if target.kind not in source.targets:
        raise InputError(
            f"{context.key}: '{source.name}' yields labels of data.target "
            f"{' and '.join(sorted(source.targets))}, and it is '{target.name}'; use the source "
            f"csv, npz or image_table, or a class of your own whose `targets` names '{target.kind}'"
        )


def _selected_names(spec: DataSpec, found: list[str]) -> Sequence[str]:
    """Names of the domains to keep; every name that the user gave must be among `found`."""
    for key in ("domains", "unseen_domains"):
        for name in getattr(spec, key) or ():
            if name not in found:
                raise InputError(
                    f"data.{key} names '{name}', which no source yields; {_hint(name, found)}"
                )
    selected = spec.domains or found
    if len(selected) == len(spec.unseen_domains):
        raise InputError(
            "data.unseen_domains names every domain, which leaves none to train on; "
            "take at least one out"
        )
    return selected


def _hint(name: str, names: list[str]) -> str:
    near = difflib.get_close_matches(name, names, n=1)
    return f"did you mean '{near[0]}'?" if near else f"choose from {', '.join(names)}"


def _pool(
    domains: Sequence[Domain],
    split: Literal["train", "test"],
    spec: DataSpec,
    numbers: list[np.ndarray],
) -> Samples:
    """One split of all domains, at most `count` samples of each, domain after domain."""
    count = spec.train_samples_per_domain if split == "train" else spec.test_samples_per_domain
    inputs, labels, owners, sizes = [], [], [], []
    rows: list[np.ndarray | None] = []
    for domain, number in zip(domains, numbers, strict=True):
        own_inputs = getattr(domain, f"{split}_inputs")
        own_labels = getattr(domain, f"{split}_labels")
        own_owners = getattr(domain, f"{split}_owners")
        if own_owners is None:
            own_owners = np.full(len(own_labels), -1)  # the last of the numbers: no owner
        kept = None
        if count is not None and count < len(own_labels):
            kinds = spec.target.kinds(own_labels)
            drawing = rng.generator(spec.seed, "subsample", domain.name, split)
            kept = choose(kinds, count, drawing)
            own_labels, own_owners = own_labels[kept], own_owners[kept]
        inputs.append(own_inputs)
        rows.append(kept)
        labels.append(own_labels)
        owners.append(number[own_owners])
        sizes.append(len(own_labels))
    return Samples(
        inputs=pooled(inputs, rows),
        labels=spec.target.stored(np.concatenate(labels)),
        domains=np.repeat(np.arange(len(domains)), sizes),
        owners=np.concatenate(owners) if any(each.owner_names for each in domains) else None,
    )
