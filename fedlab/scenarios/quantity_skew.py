"""Quantity skew: how many training samples a client has.

`Equal` takes samples away; all other kinds change the proportions in which a domain is divided
and keep every sample in use. With IID labels, or Dirichlet labels of balanced sizes, the clients
of a domain get exactly those proportions of it, rounded; with other label skews a client's size
also depends on its classes. Every client has at least one sample.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import PositiveFloat, PositiveInt

from fedlab.errors import InputError
from fedlab.partition.apportion import log_gamma
from fedlab.partition.base import QuantitySkew


class Natural(QuantitySkew):
    """Whatever the domains and the label skew leave each client with."""

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
                f"use at most {sizes[smallest]}, fewer clients or a milder label skew"
            )
        return np.full(len(sizes), wanted)


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
