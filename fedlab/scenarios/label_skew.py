"""Label skew: the division of classes among the clients that see a domain."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import PositiveInt

from fedlab.errors import InputError
from fedlab.partition.apportion import apportion, balanced_assignment, client_domain_sizes
from fedlab.partition.base import LabelSkew
from fedlab.partition.sample_pool import Pool


class IID(LabelSkew):
    """No label skew: each domain is shuffled and cut into pieces.

    The IID partition of McMahan et al., "Communication-Efficient Learning of Deep Networks from
    Decentralized Data", AISTATS 2017, arXiv 1602.05629, within each domain.
    """

    name: Literal["iid"] = "iid"

    def divide(self, pool: Pool, shares: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """See `LabelSkew.divide`."""
        owners = pool.unowned()
        sizes = client_domain_sizes(pool.domain_sizes, shares, rng)
        for domain in np.flatnonzero(sizes.any(axis=0)):
            dealt = np.repeat(np.arange(len(shares)), sizes[:, domain])
            owners[pool.domain(domain)] = rng.permutation(dealt)
        return owners


class Shards(LabelSkew):
    """Samples sorted by class and cut into shards, of which every client gets a few.

    The non-IID partition of McMahan et al., "Communication-Efficient Learning of Deep Networks
    from Decentralized Data", AISTATS 2017, arXiv 1602.05629 (there: 2 shards for each of 100
    clients). Each domain is sorted and cut for itself, with the clients' shards in the same order
    everywhere, so that a client that sees several domains has about the same classes in each.
    Under a quantity skew the shards of a large client are longer.

    Attributes:
        per_client: Shards per client.
    """

    name: Literal["shards"] = "shards"
    per_client: PositiveInt

    def divide(self, pool: Pool, shares: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """See `LabelSkew.divide`."""
        refuse_sole_owners(shares)
        owners = pool.unowned()
        sequence = rng.permutation(np.repeat(np.arange(len(shares)), self.per_client))
        for domain in np.flatnonzero(shares.any(axis=0)):
            shards = sequence[shares[sequence, domain] > 0]
            size = int(pool.domain_sizes[domain])
            if len(shards) > size:
                raise InputError(
                    f"partition.labels.per_client: {self.per_client} shards for each of "
                    f"{len(shards) // self.per_client} clients need at least {len(shards)} samples "
                    f"and there are {size} in the domain '{pool.domain_names[domain]}'; "
                    "use fewer shards or clients"
                )
            lengths = apportion(size, shares[shards, domain], rng, minimum=1)
            owners[pool.domain(domain)] = np.repeat(shards, lengths)
        return owners


class ClassesPerClient(LabelSkew):
    """Every client has samples of the same small number of classes.

    The quantity-based label imbalance (#C = k) of NIID-Bench: Li et al., "Federated Learning on
    Non-IID Data Silos: An Experimental Study", 2021, arXiv 2102.02079. Classes are dealt out such
    that all of them are equally popular among the clients of a domain; the samples of a class are
    divided among the clients that have it. Samples of a class that no client of the domain has
    stay unused.

    Attributes:
        count: Classes per client. A class with fewer samples than owners leaves some without it.
    """

    name: Literal["classes_per_client"] = "classes_per_client"
    remedy: ClassVar[str] = "raise partition.labels.count or use fewer clients"
    count: PositiveInt

    def divide(self, pool: Pool, shares: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """See `LabelSkew.divide`."""
        owned = self._choose(pool, shares, rng)
        owners, edges = pool.unowned(), pool.edges
        everyone = np.arange(len(shares))
        classes = pool.counts.shape[1]
        for domain, label in np.argwhere(pool.counts):
            size = int(pool.counts[domain, label])
            weights = shares[:, domain] * owned[:, label]
            has = weights > 0
            if has.any():
                parts = apportion(size, weights, rng, has * (has.sum() <= size))
                cell = domain * classes + label
                owners[edges[cell] : edges[cell + 1]] = np.repeat(everyone, parts)
        return owners

    def _choose(self, pool: Pool, shares: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The classes of each client, bool of shape (clients, classes)."""
        owned = np.zeros((len(shares), pool.counts.shape[1]), dtype=bool)
        home = shares.argmax(axis=1)
        for domain in np.unique(home):
            members = rng.permutation(np.flatnonzero(home == domain))
            seen = shares[members].any(axis=0)
            present = np.flatnonzero(pool.counts[seen].any(axis=0))
            if self.count > len(present):
                raise InputError(
                    f"partition.labels.count: a client cannot have {self.count} classes where "
                    f"there are {len(present)} (domain '{pool.domain_names[domain]}'); "
                    f"use at most {len(present)}"
                )
            chosen = present[balanced_assignment(len(members), len(present), self.count, rng)]
            owned[members[:, None], chosen] = True
        return owned


def refuse_sole_owners(shares: np.ndarray) -> None:
    """Refuses a label skew that would have no effect.

    Raises:
        InputError: If there are several clients and each has its domains for itself, so that it
            gets all of their samples for any skew.
    """
    if len(shares) > 1 and (np.count_nonzero(shares, axis=0) <= 1).all():
        raise InputError(
            "partition.labels: every domain has only one client, which gets all of its samples, "
            "so nothing is skewed; use more clients than domains, 'classes_per_client', or "
            "'dirichlet' with 'among: all_clients'"
        )
