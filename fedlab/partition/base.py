"""The base classes of skews; each is a block of the scenario and a function of a seed.

A generator of your own subclasses one of them and is named in a scenario by its path, e.g.
``labels: {name: "mypackage.skews:Mine", ...}``.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from fedlab.config.component import Component
from fedlab.partition.sample_pool import Pool
from fedlab.targets.base import ONLY_CLASS


class DomainSkew(Component):
    """Which domains a client sees."""

    group: ClassVar[str] = "domain_skews"

    @abstractmethod
    def shares(self, clients: int, domains: Sequence[str], rng: np.random.Generator) -> np.ndarray:
        """Each client's relative share in each domain.

        Args:
            clients: Number of clients.
            domains: Names of the domains that clients may see.
            rng: Source of randomness.

        Returns:
            Non-negative float64 of shape (clients, domains); zero where a client does not see a
            domain. Only the ratios within a domain count.

        Raises:
            InputError: If there are not enough clients or domains.
        """


class LabelSkew(Component):
    """How the classes are divided among the clients that see a domain.

    Attributes:
        remedy: What to change if clients are left without samples; ends an error message.
    """

    group: ClassVar[str] = "label_skews"
    remedy: ClassVar[str] = "use fewer clients"

    @abstractmethod
    def divide(self, pool: Pool, shares: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Assigns an owner to each training sample.

        Args:
            pool: The training samples of the domains that clients may see.
            shares: Relative share of each client in each domain, times the client's weight of the
                quantity skew: float64 of shape (clients, domains).
            rng: Source of randomness.

        Returns:
            The client that owns each sample or -1, int64 aligned with ``pool.order``.

        Raises:
            InputError: If the samples do not suffice.
        """


class QuantitySkew(Component):
    """How many training samples a client has."""

    group: ClassVar[str] = "quantity_skews"

    def weights(self, clients: int, rng: np.random.Generator) -> np.ndarray:
        """Relative sizes of the clients, positive float64 of shape (clients,).

        The label skew divides each domain in proportion to them; all samples stay in use.
        """
        return np.ones(clients)

    def kept(self, sizes: np.ndarray) -> np.ndarray:
        """Number of samples that each client keeps of the `sizes` dealt to it (by default, all).

        Raises:
            InputError: If a client has fewer samples than it should keep.
        """
        return sizes

    def kept_by_domain(
        self, dealt: np.ndarray, totals: np.ndarray, domains: Sequence[str]
    ) -> np.ndarray | None:
        """Number of samples that each client keeps by domain; None leaves it to `kept`.

        Args:
            dealt: What each client was dealt, int64 of shape (clients, domains).
            totals: Training samples of each domain, int64 of shape (domains,).
            domains: Their names.

        Raises:
            InputError: If a client has fewer samples than it should keep.
        """
        return None


class LabelNoise(Component):
    """Which labels of a client are wrong."""

    group: ClassVar[str] = "label_noises"
    targets: ClassVar[frozenset[str]] = ONLY_CLASS
    """The kinds of `data.target` whose labels it can make wrong."""

    @abstractmethod
    def corrupt(
        self,
        labels: np.ndarray,
        owners: np.ndarray,
        clients: int,
        class_names: Sequence[str],
        rng: np.random.Generator,
    ) -> np.ndarray:
        """The labels that clients train on.

        Args:
            labels: True labels of all clients' training samples, int64 of shape (N,).
            owners: The client of each of them, int64 of shape (N,).
            clients: Number of clients.
            class_names: Names by class index.
            rng: Source of randomness.

        Returns:
            int64 of shape (N,).

        Raises:
            InputError: If the noise makes no sense for these classes.
        """
