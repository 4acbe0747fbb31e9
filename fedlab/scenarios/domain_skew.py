"""Domain skew: the domains that a client sees, and its share in each of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from fedlab.errors import InputError
from fedlab.partition.apportion import balanced_assignment, log_gamma, normalised
from fedlab.partition.base import DomainSkew


class OnePerClient(DomainSkew):
    """Every client has samples of one domain only, as the hospitals and devices of FedBN.

    Li et al., "FedBN: Federated Learning on Non-IID Features via Local Batch Normalization",
    ICLR 2021, arXiv 2102.07623. By default client k sees domain ``k mod domains``; the clients of
    a domain share it equally.

    Attributes:
        clients_per_domain: Number of clients of each domain, instead of taking turns: the first
            clients see the first domain, and so on. Domains that are not named get no client.
            ``random`` draws a domain for each client, as FPL (Huang et al., CVPR 2023) does.
        at_least: Of random numbers, how many clients each domain has at least.
        at_most: Of random numbers, how many it has at most: clients draw among the domains that
            are not full; no bound by default.
    """

    name: Literal["one_per_client"] = "one_per_client"
    clients_per_domain: dict[str, NonNegativeInt] | Literal["random"] | None = None
    at_least: NonNegativeInt = 1
    at_most: PositiveInt | None = None

    @model_validator(mode="after")
    def _bounds_are_of_random_numbers(self) -> OnePerClient:
        if self.clients_per_domain != "random" and (self.at_least != 1 or self.at_most):
            raise ValueError(
                "at_least and at_most bound the numbers of clients_per_domain: random; leave them "
                "out"
            )
        return self

    def shares(self, clients: int, domains: Sequence[str], rng: np.random.Generator) -> np.ndarray:
        """See `DomainSkew.shares`."""
        if self.clients_per_domain is None:
            _check_coverage(clients, 1, domains)
            home = np.arange(clients) % len(domains)
        else:
            home = np.repeat(np.arange(len(domains)), self._numbers(clients, domains, rng))
        return _equal_shares(home[:, None], len(domains))

    def _numbers(self, clients: int, domains: Sequence[str], rng: np.random.Generator) -> list[int]:
        if self.clients_per_domain == "random":
            return self._drawn(clients, domains, rng)
        wanted = self.clients_per_domain or {}
        key = "partition.domains.clients_per_domain"
        for name in wanted:
            if name not in domains:
                raise InputError(
                    f"{key}: no client can see a domain '{name}'; "
                    f"the domains are {', '.join(domains)}"
                )
        if sum(wanted.values()) != clients:
            raise InputError(
                f"{key}: the numbers add up to {sum(wanted.values())} clients and "
                f"partition.clients is {clients}; make them agree"
            )
        return [wanted.get(name, 0) for name in domains]

    def _drawn(self, clients: int, domains: Sequence[str], rng: np.random.Generator) -> list[int]:
        """Random numbers of clients within the bounds."""
        numbers = np.full(len(domains), self.at_least)
        most = clients if self.at_most is None else self.at_most
        if self.at_least > most or not numbers.sum() <= clients <= most * len(domains):
            raise InputError(
                f"partition.domains: {clients} clients cannot be at_least {self.at_least} and "
                f"at_most {most} in each of {len(domains)} domains; change partition.clients or "
                "these bounds"
            )
        for _ in range(clients - int(numbers.sum())):
            numbers[rng.choice(np.flatnonzero(numbers < most))] += 1
        return numbers.tolist()


class SeveralPerClient(DomainSkew):
    """Every client sees the same number of domains, drawn at random and equally popular.

    The clients of a domain share it equally.

    Attributes:
        count: Domains per client.
    """

    name: Literal["several_per_client"] = "several_per_client"
    count: PositiveInt

    def shares(self, clients: int, domains: Sequence[str], rng: np.random.Generator) -> np.ndarray:
        """See `DomainSkew.shares`."""
        if self.count > len(domains):
            raise InputError(
                f"partition.domains.count: a client cannot see {self.count} of {len(domains)} "
                f"domains ({', '.join(domains)}); use at most {len(domains)}"
            )
        _check_coverage(clients, self.count, domains)
        seen = balanced_assignment(clients, len(domains), self.count, rng)
        return _equal_shares(seen, len(domains))


class Mixed(DomainSkew):
    """Every client sees every domain.

    Attributes:
        alpha: Concentration of the Dirichlet distribution that each client's shares of the
            domains are drawn from: 0.1 gives nearly one domain each, 100 nearly equal mixtures.
            By default every client has the same mixture, that of the pooled samples.
    """

    name: Literal["mixed"] = "mixed"
    alpha: PositiveFloat | None = None

    def shares(self, clients: int, domains: Sequence[str], rng: np.random.Generator) -> np.ndarray:
        """See `DomainSkew.shares`."""
        if self.alpha is None:
            return np.ones((clients, len(domains)))
        mixtures = normalised(log_gamma(self.alpha, (clients, len(domains)), rng), axis=1)
        return np.maximum(mixtures, 1e-12)  # an exact zero would mean: does not see the domain


def _equal_shares(seen: np.ndarray, domains: int) -> np.ndarray:
    """Shares of one where client k sees a domain in row k of `seen`, zero elsewhere."""
    shares = np.zeros((len(seen), domains))
    np.put_along_axis(shares, seen, 1.0, axis=1)
    return shares


def _check_coverage(clients: int, each: int, domains: Sequence[str]) -> None:
    """Checks that clients which see `each` domains are enough to cover all domains."""
    if clients * each < len(domains):
        raise InputError(
            f"partition.clients: {clients} clients that see {each} domain(s) each cannot cover "
            f"the {len(domains)} domains ({', '.join(domains)}); use more clients, or fewer "
            "domains through data.domains or data.unseen_domains"
        )
