"""Label skew drawn from a Dirichlet distribution, in the two forms of the literature.

By class (the default), samples get their owners in three steps. An example of one domain with 10
samples of class A and 6 of class B, and two clients that see it equally:

    1. Draws: proportions of every class over clients, from Dirichlet(alpha).
    2. Quotas: exact numbers of samples, proportion times samples of the class (a `_Cell` each).
    3. Owners: quotas rounded to whole numbers, randomly and unbiased; owners of the pool's slice.

    class   samples   1. draws     2. quotas    3. owners
                      0     1      0     1
    A       10        0.75  0.25   7.5   2.5    0 0 0 0 0 0 0 0 1 1    (or seven 0s, three 1s)
    B       6         0.3   0.7    1.8   4.2    0 0 1 1 1 1            (or one 0, five 1s)

Clients with fewer samples than `min_samples` repeat step 1 with new draws for themselves alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal, NamedTuple

import numpy as np
from pydantic import PositiveFloat, PositiveInt, model_validator

from fedlab.errors import InputError
from fedlab.partition.apportion import (
    ROUNDING,
    apportion,
    client_domain_sizes,
    guaranteed_minimum,
    log_gamma,
    normalised,
)
from fedlab.partition.base import LabelSkew
from fedlab.partition.sample_pool import Pool
from fedlab.scenarios.label_skew import refuse_sole_owners

TRIES = 100
"""Largest number of repeated draws for clients with fewer samples than `min_samples`."""


class _Cell(NamedTuple):
    """One class of one domain.

    Attributes:
        samples: Its slice of the pool.
        owners: The clients that see the domain, and -1 for unused samples, int64 of shape (n + 1,).
        quotas: The exact number of samples of each of them, float64 of shape (n + 1,).
    """

    samples: slice
    owners: np.ndarray
    quotas: np.ndarray


class Dirichlet(LabelSkew):
    """Dirichlet-distributed class proportions.

    By default each class is divided among the clients in proportions drawn from Dirichlet(alpha),
    so that sizes differ as well. NIID-Bench (Li et al., "Federated Learning on Non-IID Data Silos:
    An Experimental Study", 2021, arXiv 2102.02079) draws the same proportions; its code also gives
    a client that has its even share nothing of the following classes, and requires ten samples per
    client. `capped` and ``min_samples: 10`` do that here. There, a client with too few samples
    makes all draws start again; here only such clients draw again, which also finds a partition for
    large populations.

    With `balanced`, sizes are as without label skew, and each client draws the classes of its
    samples from its own Dirichlet(alpha) proportions: Hsu et al., "Measuring the Effects of
    Non-Identical Data Distribution for Federated Visual Classification", 2019, arXiv 1909.06335
    (with a uniform prior). All clients draw at once; where a class runs out, its last samples are
    assigned at random, and the other clients draw from the remaining classes.

    Attributes:
        alpha: Every parameter of the distribution: 0.1 gives a few classes per client, 100 nearly
            IID labels.
        per_domain: Whether a client that sees several domains draws new proportions for each.
        balanced: Whether the clients' sizes are those without label skew.
        among: The clients among which a class of a domain is divided. ``domain_clients``: those
            that see the domain, so that all samples are used. ``all_clients``: all clients; the
            parts of those that do not see the domain stay unused, so that even the only client of
            a domain gets skewed labels, as in the Office-Home-LDS benchmark of GGEUR, CVPR 2025,
            arXiv 2503.06457.
        capped: Whether a client that has its even share of a domain gets none of the classes that
            are divided after that (NIID-Bench's code).
        min_samples: Smallest number of samples of every client.
    """

    name: Literal["dirichlet"] = "dirichlet"
    remedy: ClassVar[str] = "raise partition.labels.alpha or use fewer clients"
    alpha: PositiveFloat
    per_domain: bool = False
    balanced: bool = False
    among: Literal["domain_clients", "all_clients"] = "domain_clients"
    capped: bool = False
    min_samples: PositiveInt = 1

    @model_validator(mode="after")
    def _caps_what_is_divided(self) -> Dirichlet:
        if self.capped and (self.balanced or self.among == "all_clients"):
            other = "balanced" if self.balanced else "among: all_clients"
            raise ValueError(
                f"capped and {other} exclude each other: a cap is for classes divided one "
                "after another among the clients that see them; use one of the two"
            )
        return self

    @model_validator(mode="after")
    def _balanced_uses_all(self) -> Dirichlet:
        if self.balanced and self.among == "all_clients":
            raise ValueError(
                "balanced sizes are cut from whole domains and 'among: all_clients' leaves parts "
                "of them unused; use one of the two"
            )
        return self

    def divide(self, pool: Pool, shares: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """See `LabelSkew.divide`."""
        if self.among == "domain_clients":
            refuse_sole_owners(shares)
        divide = self._by_client if self.balanced else self._by_class
        return divide(pool, shares, rng)

    def _draw(self, pool: Pool, clients: int, rng: np.random.Generator) -> np.ndarray:
        """Unnormalised log proportions of shape (domains, clients, classes); domains may be 1."""
        domains, classes = pool.counts.shape
        return log_gamma(self.alpha, (domains if self.per_domain else 1, clients, classes), rng)

    def _by_class(self, pool: Pool, shares: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Owners by class: the three steps of the module's docstring."""
        draws = self._draw(pool, len(shares), rng)
        poor = np.empty(0, dtype=np.int64)
        for _ in range(TRIES):
            expected = np.zeros(len(shares) + 1)  # the last is for unused samples, index -1
            for cell in self._cells(pool, shares, draws):
                expected[cell.owners] += cell.quotas
            poor = np.flatnonzero(expected[:-1] < self.min_samples - ROUNDING)
            if not len(poor):
                owners = self._deal(pool, shares, draws, rng)
                sizes = np.bincount(owners[owners >= 0], minlength=len(shares))
                poor = np.flatnonzero(sizes < self.min_samples)
                if not len(poor):
                    return owners
            draws[:, poor] = self._draw(pool, len(poor), rng)
        raise InputError(
            f"partition.labels: after {TRIES} draws with alpha {self.alpha}, {len(poor)} of "
            f"{len(shares)} clients (client {poor[0]}, for one) still have fewer than "
            f"{self.min_samples} sample(s); raise alpha, lower min_samples, use fewer clients or "
            "set 'balanced: true'"
        )

    def _cells(self, pool: Pool, shares: np.ndarray, draws: np.ndarray) -> Iterator[_Cell]:
        """Step 2: the cells that have samples and clients, with their quotas."""
        classes, edges = pool.counts.shape[1], pool.edges
        for domain in np.flatnonzero(shares.any(axis=0)):
            sees = shares[:, domain] > 0
            strength = shares[:, domain]
            if self.among == "all_clients":
                strength = np.where(sees, strength, shares.max(axis=1))
            rivals = np.flatnonzero(strength)
            owners = np.append(np.flatnonzero(sees), -1)
            has, even = np.zeros(len(rivals)), strength[rivals] / strength[rivals].sum()
            even = even * pool.counts[domain].sum()
            for label in np.flatnonzero(pool.counts[domain]):
                logarithms = np.log(strength[rivals]) + draws[domain % len(draws), rivals, label]
                if self.capped and (has < even).any():
                    logarithms = np.where(has < even, logarithms, -np.inf)
                parts = normalised(logarithms, axis=0)
                has += parts * pool.counts[domain, label]
                unused = parts[~sees[rivals]].sum()
                samples = slice(*edges[domain * classes + label :][:2])
                total = int(pool.counts[domain, label])
                yield _Cell(samples, owners, total * np.append(parts[sees[rivals]], unused))

    def _deal(
        self, pool: Pool, shares: np.ndarray, draws: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """Step 3: rounds all quotas such that every client gets at least `min_samples`."""
        sure = np.zeros(len(shares) + 1)
        for cell in self._cells(pool, shares, draws):
            sure[cell.owners] += np.floor(cell.quotas + ROUNDING)
        small = np.flatnonzero(sure[:-1] < self.min_samples)
        quotas: list[np.ndarray] = []
        totals: list[int] = []
        for cell in self._cells(pool, shares, draws):
            everyone = np.zeros(len(sure))
            everyone[cell.owners] = cell.quotas
            quotas.append(everyone[small])
            totals.append(cell.samples.stop - cell.samples.start)
        minimum = guaranteed_minimum(
            np.stack(quotas, axis=1), np.array(totals), self.min_samples, rng
        )
        owners, least = pool.unowned(), np.zeros(len(sure), dtype=np.int64)
        for index, cell in enumerate(self._cells(pool, shares, draws)):
            least[small] = minimum[:, index]
            parts = apportion(totals[index], cell.quotas, rng, least[cell.owners])
            owners[cell.samples] = np.repeat(cell.owners, parts)
        return owners

    def _by_client(self, pool: Pool, shares: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Owners by client: sizes first, then the classes of each client's samples."""
        sizes = client_domain_sizes(pool.domain_sizes, shares, rng)
        smallest = int(sizes.sum(axis=1).min())
        if smallest < self.min_samples:
            raise InputError(
                f"partition.labels.min_samples: {self.min_samples} samples for every client and "
                f"the smallest has {smallest}; lower it or use fewer clients"
            )
        draws = self._draw(pool, len(shares), rng)
        owners, edges = pool.unowned(), pool.edges
        classes = pool.counts.shape[1]
        for domain in np.flatnonzero(sizes.any(axis=0)):
            dealt = _fill(pool.counts[domain], sizes[:, domain], draws[domain % len(draws)], rng)
            for label, owner in enumerate(dealt):
                cell = domain * classes + label
                owners[edges[cell] : edges[cell + 1]] = owner
        return owners


def _fill(
    supply: np.ndarray, sizes: np.ndarray, draws: np.ndarray, rng: np.random.Generator
) -> list[np.ndarray]:
    """Divides a domain's classes among clients of given sizes.

    Args:
        supply: Samples of each class, shape (classes,); the sum equals that of `sizes`.
        sizes: Samples of each client, shape (clients,).
        draws: Unnormalised log proportions, shape (clients, classes).
        rng: Source of randomness.

    Returns:
        The owners of each class's samples, in random order.
    """
    supply, wanted = supply.copy(), sizes.copy()
    dealt: list[list[np.ndarray]] = [[] for _ in supply]
    while wanted.any():  # at least one class runs out each time, so at most once per class
        seekers, left = np.flatnonzero(wanted), np.flatnonzero(supply)
        proportions = normalised(draws[np.ix_(seekers, left)], axis=1)
        requests = rng.multinomial(wanted[seekers], proportions)
        for label, numbers in zip(left, requests.T, strict=True):
            granted = rng.permutation(np.repeat(seekers, numbers))[: supply[label]]
            dealt[label].append(granted)
            supply[label] -= len(granted)
            wanted -= np.bincount(granted, minlength=len(wanted))
    return [np.concatenate([np.empty(0, np.int64), *parts]) for parts in dealt]
