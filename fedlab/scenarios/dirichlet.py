"""Label skew drawn from a Dirichlet distribution, in the two forms of the literature."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal, NamedTuple

import numpy as np
from pydantic import PositiveFloat, PositiveInt, model_validator

from fedlab.errors import InputError
from fedlab.partition.apportion import (
    ROUNDING,
    apportion,
    log_gamma,
    normalised,
    seat_sizes,
    sure_minimum,
)
from fedlab.partition.base import LabelSkew
from fedlab.partition.sample_pool import Pool
from fedlab.scenarios.label_skew import refuse_sole_owners

TRIES = 100
"""Draws after which no client is expected to reach the smallest size any more."""


class _Cell(NamedTuple):
    """One class of one domain.

    Attributes:
        samples: Its slice of the pool.
        owners: The clients that see the domain, and -1 for nobody, int64 of shape (n + 1,).
        quotas: The exact number of samples for each of them, float64 of shape (n + 1,).
    """

    samples: slice
    owners: np.ndarray
    quotas: np.ndarray


class Dirichlet(LabelSkew):
    """Dirichlet-distributed class proportions.

    By default each class is divided among the clients in proportions drawn from Dirichlet(alpha),
    so that sizes differ as well. NIID-Bench (Li et al., "Federated Learning on Non-IID Data Silos:
    An Experimental Study", 2021, arXiv 2102.02079) draws the same proportions; its code moreover
    gives nothing of the classes that follow to a client that has its even share already, and wants
    ten samples for everybody. `capped` and ``min_samples: 10`` do that here. There, too few samples
    for one client make all draws start again; here only the clients concerned draw again, which
    finds a partition for large populations, too.

    With `balanced`, sizes are as without label skew, and each client draws the classes of its
    samples from its own Dirichlet(alpha) proportions: Hsu et al., "Measuring the Effects of
    Non-Identical Data Distribution for Federated Visual Classification", 2019, arXiv 1909.06335
    (with a uniform prior). All clients draw at once; where a class runs out, chance decides who
    gets the last samples, and the others draw from the classes that remain.

    Attributes:
        alpha: Every parameter of the distribution: 0.1 gives a few classes per client, 100 nearly
            IID labels.
        per_domain: Whether a client that sees several domains draws its proportions anew for each
            of them.
        balanced: Whether the label skew leaves the clients' sizes alone.
        among: Among whom a class of a domain is divided. ``domain_clients``: the clients that see
            the domain, who use up all samples. ``all_clients``: the parts of clients that do not
            see the domain stay unused, so that even the only client of a domain gets skewed
            labels, as in the Office-Home-LDS benchmark of GGEUR, CVPR 2025, arXiv 2503.06457.
        capped: Whether a client that has its even share of a domain gets none of the classes that
            are still to be divided (NIID-Bench's code).
        min_samples: Samples that every client must have.
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
        """Each class of each domain, divided among clients."""
        draws = self._draw(pool, len(shares), rng)
        poor = np.empty(0, dtype=np.int64)
        for _ in range(TRIES):
            expected = np.zeros(len(shares) + 1)  # the last is nobody's, whose index is -1
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
        """The cells that have samples and clients."""
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
        """Rounds all quotas, such that everybody gets the samples it must have."""
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
        minimum = sure_minimum(np.stack(quotas, axis=1), np.array(totals), self.min_samples, rng)
        owners, least = pool.unowned(), np.zeros(len(sure), dtype=np.int64)
        for index, cell in enumerate(self._cells(pool, shares, draws)):
            least[small] = minimum[:, index]
            parts = apportion(totals[index], cell.quotas, rng, least[cell.owners])
            owners[cell.samples] = np.repeat(cell.owners, parts)
        return owners

    def _by_client(self, pool: Pool, shares: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Sizes first, then the classes of each client's samples."""
        sizes = seat_sizes(pool.domain_sizes, shares, rng)
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
    """Deals a domain's classes to clients of given sizes.

    Args:
        supply: Samples of each class, shape (classes,); together as many as all `sizes`.
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
