"""Quantity skew: the number of training samples of a client.

`Equal` and `ShareOfDomain` take samples away; all other kinds change the proportions in which a
domain is divided and keep every sample in use. With IID labels, or Dirichlet labels of balanced
sizes, the clients of a domain get exactly those proportions of it, rounded; with other label skews
a client's size also depends on its classes. Every client has at least one sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field, PositiveFloat, PositiveInt

from fedlab.errors import InputError
from fedlab.partition.apportion import log_gamma
from fedlab.partition.base import QuantitySkew


class Natural(QuantitySkew):
    """No quantity skew: clients keep the samples that domains and label skew deal to them."""

    name: Literal["natural"] = "natural"


class Equal(QuantitySkew):
    """The same number of samples for every client, drawn from what it was dealt.

    Attributes:
        samples_per_client: That number; by default the size of the smallest client.
    """

    name: Literal["equal"] = "equal"
    samples_per_client: PositiveInt | None = None

    def kept(self, sizes: np.ndarray) -> np.ndarray:
        """See `QuantitySkew.kept`."""
        smallest = int(sizes.argmin())
        wanted = self.samples_per_client or int(sizes[smallest])
        if sizes[smallest] < wanted:
            raise InputError(
                f"partition.quantity.samples_per_client: client {smallest} has only "
                f"{sizes[smallest]} of the {wanted} samples that every client should have; "
                f"use at most {sizes[smallest]}, fewer clients or a milder label skew; natural "
                f"clients with fewer are left out by partition.clients.min_samples={wanted}"
            )
        return np.full(len(sizes), wanted)


class ShareOfDomain(QuantitySkew):
    """The same share of a domain's samples for each of its clients; the rest is unused.

    The protocol of FPL (Huang et al., "Rethinking Federated Learning with Domain Shift: A Prototype
    View", CVPR 2023), FedHEAL (Chen et al., CVPR 2024, arXiv 2405.16585) and F2DC: 1 % of a set of
    digits, 20 % of one of Office-Caltech, for domains of any size. Samples are drawn without
    replacement from what a client was dealt; ``int(share * samples)`` of each domain that it sees.
    Clients are tested on classes that a client of their domain has; with ``evaluation.fraction: 0``
    the global model is tested on each domain's whole test set instead, as in these papers.

    Attributes:
        share: That share, in (0, 1].
    """

    name: Literal["share_of_domain"] = "share_of_domain"
    share: float = Field(gt=0, le=1)

    def kept_by_domain(
        self, dealt: np.ndarray, totals: np.ndarray, domains: Sequence[str]
    ) -> np.ndarray:
        """See `QuantitySkew.kept_by_domain`."""
        each = np.floor(self.share * totals + 1e-9).astype(np.int64)
        wanted = np.where(dealt > 0, each, 0)
        key = f"partition.quantity.share: {self.share:g} of domain"
        for domain in map(int, np.flatnonzero(dealt.any(axis=0))):
            sees = dealt[:, domain] > 0
            what = f"{key} '{domains[domain]}'"
            if not each[domain]:
                raise InputError(
                    f"{what} is less than one of its {totals[domain]} samples; use a larger share"
                )
            least = int(dealt[sees, domain].min())
            if least < each[domain]:
                raise InputError(
                    f"{what} is {each[domain]} of its {totals[domain]} samples, and one of its "
                    f"{int(sees.sum())} clients has only {least}; use a share of at most "
                    f"{least / totals[domain]:.3g}, fewer clients of that domain or a milder label "
                    "skew"
                )
        return wanted


class DirichletSizes(QuantitySkew):
    """Shares of the samples drawn from a Dirichlet distribution over the clients.

    The quantity skew of NIID-Bench: Li et al., "Federated Learning on Non-IID Data Silos: An
    Experimental Study", 2021, arXiv 2102.02079.

    Attributes:
        alpha: Concentration: 0.5 gives very unequal clients, 100 nearly equal ones.
    """

    name: Literal["dirichlet"] = "dirichlet"
    alpha: PositiveFloat

    def weights(self, clients: int, rng: np.random.Generator) -> np.ndarray:
        """See `QuantitySkew.weights`."""
        draws = log_gamma(self.alpha, (clients,), rng)
        return np.exp(draws - draws.max())


class LogNormal(QuantitySkew):
    """Sizes proportional to log-normal draws, as in many real populations of devices.

    Attributes:
        sigma: Standard deviation of the logarithm of a size; about two thirds of the clients lie
            within a factor exp(sigma) of the median.
    """

    name: Literal["lognormal"] = "lognormal"
    sigma: PositiveFloat

    def weights(self, clients: int, rng: np.random.Generator) -> np.ndarray:
        """See `QuantitySkew.weights`."""
        draws = rng.normal(0.0, self.sigma, clients)
        return np.exp(draws - draws.max())


class PowerLaw(QuantitySkew):
    """Sizes proportional to rank ** -exponent, the ranks being dealt to the clients at random.

    Power-law client sizes are those of Li et al., "Federated Optimization in Heterogeneous
    Networks", MLSys 2020, arXiv 1812.06127.

    Attributes:
        exponent: Steepness: with 1 the largest client is ten times the tenth largest.
    """

    name: Literal["power_law"] = "power_law"
    exponent: PositiveFloat

    def weights(self, clients: int, rng: np.random.Generator) -> np.ndarray:
        """See `QuantitySkew.weights`."""
        return (1.0 + rng.permutation(clients)) ** -self.exponent
