"""The partition of samples among clients: a pure function of (scenario, seed)."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import numpy as np

from fedlab.data.samples import FederatedData
from fedlab.errors import InputError
from fedlab.partition.apportion import apportion
from fedlab.partition.dealt import Dealt, by_client, keep, offsets_of
from fedlab.partition.held_out import draw_held_out
from fedlab.partition.left_out_samples import staying
from fedlab.partition.natural_clients import NaturalClients, label_of
from fedlab.partition.natural_deal import deal_to_owners
from fedlab.partition.observed_labels import observed_labels
from fedlab.partition.sample_pool import Pool
from fedlab.partition.skew_checks import check_owners, check_weights
from fedlab.partition.spec import PartitionSpec
from fedlab.partition.validation import set_aside
from fedlab.rng import generator
from fedlab.targets.base import CLASS


@dataclass(frozen=True)
class ClientSplit:
    """The samples of one client.

    Attributes:
        train: Indices into the training pool, int64 of shape (n,).
        labels: The labels the client sees for them (after label noise, known positives alone), as
            stored, shape (n, ...); with label proportions the shares of its bag, float32 of shape
            (n, classes).
        labelled: Whether each of them has a label at all (label budget), bool of shape (n,).
        test: Indices into the test pool, int64 of shape (m,).
        validation: Indices into the training pool of samples that are not trained on, int64 of
            shape (v,); their labels are the true ones.
        bags: Number of each training sample's bag, -1 for none; empty where labels are known.
    """

    train: np.ndarray
    labels: np.ndarray
    labelled: np.ndarray
    test: np.ndarray
    validation: np.ndarray
    bags: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))


@dataclass(frozen=True)
class Partition:
    """The samples of all clients, in flat arrays: client k owns a slice of each.

    Flat because a population of 100,000 clients must not cost 100,000 Python objects.

    Attributes:
        train: Indices into the training pool, client after client, int64 of shape (N,).
        labels: Observed labels, aligned with `train`; with label proportions those of bags alone.
        labelled: Which of them are known at all, aligned with `train`.
        train_offsets: Client k owns train[train_offsets[k] : train_offsets[k + 1]].
        test: Indices into the test pool, client after client.
        test_offsets: As `train_offsets`, for `test`.
        validation: Indices into the training pool of what is set aside, client after client.
        validation_offsets: As `train_offsets`, for `validation`; empty where nothing is set aside.
        held_out: Held-out clients (never trained), ascending, int64.
        names: What clients are called, where they are owners; empty where they are numbered.
        bags: Number of each sample's bag, aligned with `train`, -1 for none; empty where labels are
            known.
    """

    train: np.ndarray
    labels: np.ndarray
    labelled: np.ndarray
    train_offsets: np.ndarray
    test: np.ndarray
    test_offsets: np.ndarray
    validation: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    validation_offsets: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    held_out: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    names: tuple[str, ...] = ()
    bags: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))

    def name(self, client: int) -> str:
        """A client's name: that of its owner, or its number."""
        return self.names[client] if self.names else str(client)

    def label(self, client: int) -> str:
        """``client 16, ann``, or ``client 16`` where clients have numbers alone."""
        return label_of(client, self.names[client] if self.names else None)

    def __len__(self) -> int:
        return len(self.train_offsets) - 1

    def __getitem__(self, client: int) -> ClientSplit:
        train = slice(self.train_offsets[client], self.train_offsets[client + 1])
        test = slice(self.test_offsets[client], self.test_offsets[client + 1])
        offsets = self.validation_offsets
        aside = slice(*offsets[client : client + 2]) if len(offsets) else slice(0)
        return ClientSplit(
            self.train[train],
            self.labels[train],
            self.labelled[train],
            self.test[test],
            self.validation[aside],
            self.bags[train],
        )


def make_partition(
    spec: PartitionSpec, data: FederatedData, seed: int, validation: float = 0.0
) -> Partition:
    """Divides the pooled samples among the clients.

    The test pool follows the training samples: within each domain and class, a client gets the
    share of the test samples that it has of the training samples in use, so that its test split
    mirrors its own skew and all test samples of such a cell have a client. Where a domain has no
    training sample at all of a class (a rare set of labels, an outermost value), its test samples
    are shared out as the domain's training samples are. Small clients may end up without any.

    Args:
        spec: The scenario's ``partition`` block.
        data: The pools; only labels and domains are read. No client gets samples of its
            unseen domains. What is divided by class here is divided by stratum where other
            targets are learnt (`fedlab.targets`).
        seed: The scenario's seed. Each generator draws from its own stream, so that changing one
            skew leaves the draws of the others alone.
        validation: Share of each client's training samples that is set aside, before labels are
            hidden or made wrong; test samples stay who they are.

    Raises:
        InputError: If the samples do not suffice for these clients and skews.
    """
    if isinstance(spec.clients, NaturalClients):
        dealt = deal_to_owners(spec, spec.clients, data, seed)
    else:
        dealt = _deal(spec, spec.clients, data, seed)
    clients, train, train_offsets = len(dealt), dealt.train, dealt.train_offsets
    owner = np.repeat(np.arange(clients), np.diff(train_offsets))
    aside = aside_offsets = train[:0]
    if validation:
        chosen = set_aside(train, owner, data, validation, seed, dealt.names)
        aside, aside_offsets = train[chosen], offsets_of(owner[chosen], clients)
        train, owner = train[~chosen], owner[~chosen]
        train_offsets = offsets_of(owner, clients)
    observed, labelled, bags = observed_labels(
        spec, data, train, owner, clients - dealt.newcomers, seed
    )
    if spec.left_out_samples:
        stay = staying(train, train_offsets, spec.left_out_samples, dealt.names)
        train, observed, labelled = train[stay], observed[stay], labelled[stay]
        train_offsets = offsets_of(owner[stay], clients)
    held_out = draw_held_out(spec.held_out_clients, clients - dealt.newcomers, seed)
    return Partition(
        train,
        observed,
        labelled,
        train_offsets,
        dealt.test,
        dealt.test_offsets,
        aside,
        aside_offsets,
        np.concatenate([held_out, np.arange(clients - dealt.newcomers, clients)]),
        dealt.names,
        bags,
    )


def _deal(spec: PartitionSpec, clients: int, data: FederatedData, seed: int) -> Dealt:
    """Deals samples out to a number of clients, by the skews of the scenario."""
    domains = len(data.domain_names)
    seen = np.isin(np.arange(domains), data.seen_domains)
    pool = Pool.of(data.train, data, seen, generator(seed, "partition", "train order"))
    if clients > len(pool):
        raise InputError(
            f"partition.clients: {clients} clients need at least {clients} training samples and "
            f"there are {len(pool)}; use fewer clients"
        )
    names = [data.domain_names[domain] for domain in data.seen_domains]
    shares = np.zeros((clients, domains))
    shares[:, seen] = check_weights(
        spec.domains.shares(clients, names, generator(seed, "partition", "domains")),
        (clients, len(names)),
        f"partition.domains: '{spec.domains.name}'.shares",
    )
    weights = check_weights(
        spec.quantity.weights(clients, generator(seed, "partition", "quantity")),
        (clients,),
        f"partition.quantity: '{spec.quantity.name}'.weights",
    )
    # The expected size of each client is at least one sample.
    shares *= np.maximum(weights, weights.sum() / len(pool))[:, None]

    owners = check_owners(
        spec.labels.divide(pool, shares, generator(seed, "partition", "labels")),
        len(pool),
        clients,
        f"partition.labels: '{spec.labels.name}'.divide",
    )
    sizes = np.bincount(owners[owners >= 0], minlength=clients)
    _check_not_empty(sizes, spec)
    owners = _kept(spec, pool, owners, clients, sizes, generator(seed, "partition", "kept"))
    train, train_offsets = _by_client(pool, owners, clients)

    test_pool = Pool.of(data.test, data, seen, generator(seed, "partition", "test order"))
    test_owners = _follow(pool, owners, test_pool, clients, generator(seed, "partition", "test"))
    test, test_offsets = _by_client(test_pool, test_owners, clients)
    return Dealt(train, train_offsets, test, test_offsets)


def refuse_untested(partition: Partition, data: FederatedData) -> None:
    """Refuses a partition whose clients have no test samples, or none of classes they train on.

    Raises:
        InputError: If no test sample is of a domain and class that a client trains on.
    """
    if not len(partition.test) and partition.names:
        raise InputError(
            "partition.clients: no owner has a test sample, so nothing could be tested; where the "
            "source's test split is of other owners, leave it out and let the source split "
            "within_owners, or keep them as new clients (new_owners: held_out)"
        )
    tested, trained = data.test.labels[partition.test], data.train.labels[partition.train]
    in_vain = data.target.kind == CLASS and not np.isin(tested, trained).any()
    if not len(tested) or in_vain:
        raise InputError(
            "partition: no client trains on a class that the test split has, so nothing could be "
            "tested; check the labels, or use more samples of each class"
        )


def _check_not_empty(sizes: np.ndarray, spec: PartitionSpec) -> None:
    empty = np.flatnonzero(sizes == 0)
    if len(empty):
        raise InputError(
            f"partition.labels: '{spec.labels.name}' leaves {len(empty)} of {len(sizes)} clients "
            f"(client {empty[0]}, for one) without training samples; {spec.labels.remedy}"
        )


def _follow(
    train: Pool, owners: np.ndarray, test: Pool, clients: int, rng: np.random.Generator
) -> np.ndarray:
    """Owners of the test samples, in each cell in the proportions of its training samples.

    A cell of which there are no training samples, owned or not, follows its domain.
    """
    domains, classes = len(test.counts), int(test.counts.shape[1])
    trained, tested = train.counts.ravel(), test.counts.ravel()
    used = owners >= 0
    cells, own = train.cells[used], owners[used]
    of_cells = _shares(cells, own, test.counts.size, clients)
    of_domains = _shares(cells // classes, own, domains, clients)
    test_owners, edges = test.unowned(), test.edges
    for cell in map(int, np.flatnonzero(tested)):
        some, numbers = of_cells[cell] if trained[cell] else of_domains[cell // classes]
        if len(some):
            parts = apportion(int(tested[cell]), numbers, rng)
            test_owners[edges[cell] : edges[cell + 1]] = np.repeat(some, parts)
    return test_owners


def _shares(
    groups: np.ndarray, owners: np.ndarray, count: int, clients: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each group the clients that own samples of it, and how many."""
    pairs, numbers = np.unique(groups * clients + owners, return_counts=True)
    bounds = np.searchsorted(pairs, np.arange(count + 1) * clients)
    spans = [slice(*edges) for edges in itertools.pairwise(bounds.tolist())]
    return [(pairs[span] % clients, numbers[span]) for span in spans]


def _by_client(pool: Pool, owners: np.ndarray, clients: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices into the samples, client after client and ascending within a client; offsets."""
    owner_of = np.full(pool.order.max(initial=-1) + 1, -1)
    owner_of[pool.order] = owners
    return by_client(owner_of, clients)


def _kept(
    spec: PartitionSpec,
    pool: Pool,
    owners: np.ndarray,
    clients: int,
    sizes: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Owners after the quantity skew dropped samples, by client or by domain."""
    domains = len(pool.domain_names)
    used = owners >= 0
    parts = np.where(used, owners * domains + pool.cells // pool.counts.shape[1], -1)
    dealt = np.bincount(parts[used], minlength=clients * domains).reshape(clients, domains)
    wanted = spec.quantity.kept_by_domain(dealt, pool.domain_sizes, pool.domain_names)
    if wanted is None:
        return keep(owners, spec.quantity.kept(sizes), rng)
    stay = keep(parts, wanted.reshape(-1), rng)
    return np.where(stay >= 0, owners, -1)
