"""Deals the samples of each owner to its client."""

from __future__ import annotations

import logging

import numpy as np

from fedlab.data.samples import FederatedData, Samples
from fedlab.errors import InputError, visible
from fedlab.partition.base import QuantitySkew
from fedlab.partition.dealt import Dealt, by_client, keep
from fedlab.partition.held_out import check_held_out
from fedlab.partition.natural_clients import NaturalClients, name_of_several
from fedlab.partition.spec import PartitionSpec
from fedlab.rng import generator

log = logging.getLogger("fedlab")


def deal_to_owners(
    spec: PartitionSpec, chosen: NaturalClients, data: FederatedData, seed: int
) -> Dealt:
    """Assigns each owner's samples to its client.

    Args:
        spec: The scenario's ``partition`` block.
        chosen: Its natural clients.
        data: The pools, with owners.
        seed: The scenario's seed.

    Raises:
        InputError: If a skew has nothing to act on, or there are no owners, or none is left.
    """
    _refuse_without_effect(spec)
    _refuse_ownerless(data)
    train, test = (_keys(pool, data, chosen) for pool in (data.train, data.test))
    number = len(data.owner_names) * (len(data.domain_names) if chosen.per_domain else 1)
    sizes, tested = (np.bincount(keys[keys >= 0], minlength=number) for keys in (train, test))
    trained = _trained(chosen, sizes, data, seed)
    if chosen.group > len(trained):
        raise InputError(
            f"partition.clients.group: {chosen.group} owners a client are more than the "
            f"{len(trained)} that can be trained; use at most that"
        )
    new = _new(chosen, sizes, tested)
    order = generator(seed, "partition", "groups")
    packs = [order.permutation(each) if chosen.group > 1 else each for each in (trained, new)]
    client_of = np.full(number + 1, -1)  # the last is for samples without an owner
    clients = 0
    for pack in packs:
        client_of[pack] = clients + np.arange(len(pack)) // chosen.group
        clients += -(-len(pack) // chosen.group)
    newcomers = -(-len(new) // chosen.group)
    if spec.held_out_clients is not None:
        try:
            check_held_out(spec.held_out_clients, clients - newcomers)
        except ValueError as error:
            raise InputError(f"partition.{error}") from error

    owners = client_of[_capped(train, chosen, sizes, trained, seed)]
    own = np.bincount(owners[owners >= 0], minlength=clients)
    held = clients - newcomers
    kept = np.concatenate([spec.quantity.kept(own[:held]), own[held:]])
    owners = keep(owners, kept, generator(seed, "partition", "kept"))
    indices, offsets = by_client(owners, clients)
    test_indices, test_offsets = by_client(client_of[test], clients)
    _log_counts(chosen, data, test_offsets, newcomers, train)
    names = _names(packs, chosen, data)
    return Dealt(indices, offsets, test_indices, test_offsets, names, newcomers)


def _keys(pool: Samples, data: FederatedData, chosen: NaturalClients) -> np.ndarray:
    """Each sample's owner (and domain) as one number; -1 in domains that clients may not see."""
    assert pool.owners is not None
    keys = pool.owners
    if chosen.per_domain:
        keys = keys * len(data.domain_names) + pool.domains
    seen = np.isin(np.arange(len(data.domain_names)), data.seen_domains)
    return np.where(seen[pool.domains], keys, -1)


def _trained(
    chosen: NaturalClients, sizes: np.ndarray, data: FederatedData, seed: int
) -> np.ndarray:
    """The owners that may train, ascending."""
    there = np.flatnonzero(sizes)
    enough = there[sizes[there] >= chosen.min_samples]
    if not len(enough):
        raise InputError(
            f"partition.clients.min_samples: {chosen.min_samples} leaves no client: the largest of "
            f"{_counted(len(there), chosen)} has {sizes.max(initial=0)} training samples; use at "
            "most that"
        )
    if len(enough) < len(there):
        log.warning(
            "partition.clients.min_samples: left out %s of %s, with %s training samples",
            f"{len(there) - len(enough):,}",
            _counted(len(there), chosen),
            f"{int(sizes[there].sum() - sizes[enough].sum()):,}",
        )
    if chosen.limit is None:
        return enough
    if chosen.limit > len(enough):
        raise InputError(
            f"partition.clients.limit: {chosen.limit} owners are more than the {len(enough)} that "
            "there are" + " with min_samples" * (chosen.min_samples > 1) + "; use at most that, or "
            "leave limit out"
        )
    drawing = generator(seed, "partition", "owners")
    return np.sort(drawing.choice(enough, chosen.limit, replace=False))


def _counted(owners: int, chosen: NaturalClients) -> str:
    """``13 owners``; with `per_domain` an owner counts once in each domain."""
    return f"{owners:,} {'pairs of owner and domain' if chosen.per_domain else 'owners'}"


def _capped(
    keys: np.ndarray, chosen: NaturalClients, sizes: np.ndarray, trained: np.ndarray, seed: int
) -> np.ndarray:
    """The owners of training samples, -1 for those beyond an owner's largest number."""
    if chosen.max_samples is None:
        return keys
    kept = np.minimum(sizes, chosen.max_samples)
    unused = (sizes - kept)[trained]
    if unused.any():
        log.warning(
            "partition.clients.max_samples: %s of %s have more, and %s of their training "
            "samples are not used",
            f"{np.count_nonzero(unused):,}",
            _counted(len(trained), chosen),
            f"{int(unused.sum()):,}",
        )
    return keep(keys, kept, generator(seed, "partition", "max samples"))


def _new(chosen: NaturalClients, sizes: np.ndarray, tested: np.ndarray) -> np.ndarray:
    """Owners with test samples alone, ascending."""
    new = np.flatnonzero((sizes == 0) & (tested >= chosen.min_samples))
    return new if chosen.new_owners == "held_out" else new[:0]


def _names(packs: list[np.ndarray], chosen: NaturalClients, data: FederatedData) -> tuple[str, ...]:
    """Names of clients: that of their owner, or of the first of several in the order of names."""
    domains = len(data.domain_names)

    def name(key: int) -> str:
        if chosen.per_domain:
            return f"{data.owner_names[key // domains]} in {data.domain_names[key % domains]}"
        return data.owner_names[key]

    names: list[str] = []
    for pack in packs:
        starts = np.arange(0, len(pack), chosen.group)
        firsts: list[int] = np.minimum.reduceat(pack, starts).tolist() if len(pack) else []
        others = np.minimum(chosen.group, len(pack) - starts) - 1
        names += [name_of_several(name(f), n) for f, n in zip(firsts, others.tolist(), strict=True)]
    return tuple(names)


def _refuse_without_effect(spec: PartitionSpec) -> None:
    """Refuses skews, which would move samples from owner to owner."""
    usual = type(spec)(clients=1)
    for key in ("domains", "labels"):
        skew, default = getattr(spec, key), getattr(usual, key)
        if skew != default:
            raise InputError(
                f"partition.{key}: '{skew.name}' deals samples out, and natural clients have "
                f"their own; leave partition.{key} out, or give partition.clients a number (with "
                "an owner such as a hospital as the source's domain, the clients of each domain "
                "share its samples so)"
            )
    quantity = type(spec.quantity)
    acts = quantity.weights is QuantitySkew.weights and (
        quantity.kept_by_domain is QuantitySkew.kept_by_domain
    )
    if not acts:
        raise InputError(
            f"partition.quantity: '{spec.quantity.name}' divides domains among clients, and "
            "natural clients have their own samples; use natural, equal, or max_samples of "
            "partition.clients, or give partition.clients a number"
        )


def _refuse_ownerless(data: FederatedData) -> None:
    """Refuses data in which a sample that clients may see has no owner."""
    seen = np.array(data.seen_domains)
    owners = data.train.owners
    if owners is None:
        raise InputError(
            "partition.clients: natural makes a client of each owner, and no source says whose "
            "samples are; name the owners in the source (csv: owner, npz: owner_train, "
            "image_folder: owners: true, ...), or give partition.clients a number"
        )
    lacking = np.unique(data.train.domains[(owners < 0) & np.isin(data.train.domains, seen)])
    if len(lacking):
        raise InputError(
            "partition.clients: natural makes a client of each owner, and the samples of domain "
            f"'{data.domain_names[lacking[0]]}' have none; name them in its source, or leave it "
            "out through data.domains or data.unseen_domains"
        )


def _log_counts(
    chosen: NaturalClients,
    data: FederatedData,
    test_offsets: np.ndarray,
    newcomers: int,
    train: np.ndarray,
) -> None:
    """Logs how many clients are not tested, are new, and have samples in several domains."""
    clients = len(test_offsets) - 1
    untested = int((np.diff(test_offsets)[: clients - newcomers] == 0).sum())
    if untested:
        log.warning(
            "partition.clients: %s of %s clients that train have no test sample, and "
            "are not tested",
            f"{untested:,}",
            f"{clients - newcomers:,}",
        )
    if newcomers:
        log.warning(
            "partition.clients: owners with test samples alone are %s held-out clients, never "
            "trained (new_owners: left_out does without them)",
            f"{newcomers:,}",
        )
    if not chosen.per_domain and len(data.domain_names) > 1:
        used = train >= 0
        pairs = np.unique(train[used] * len(data.domain_names) + data.train.domains[used])
        several = len(pairs) - len(np.unique(pairs // len(data.domain_names)))
        if several:
            owners, times = np.unique(pairs // len(data.domain_names), return_counts=True)
            log.warning(
                "partition.clients: %s owners have samples in several domains ('%s', for one), and "
                "each of them is one client; where these are different ones of the same name, "
                "partition.clients.per_domain=true makes a client of each",
                f"{int((times > 1).sum()):,}",
                visible(data.owner_names[int(owners[times > 1][0])]),
            )
