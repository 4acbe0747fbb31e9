"""The devices of all clients: a pure function of (scenario, seed)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from fedlab import rng
from fedlab.errors import InputError
from fedlab.partition.apportion import apportion
from fedlab.virtual_time.spec import DevicesSpec

BITS = 8
MEGA = 1_000_000


@dataclass(frozen=True)
class DevicePopulation:
    """The devices of clients 0, 1, ..., in flat arrays.

    Attributes:
        spec: The scenario's ``devices`` block.
        seed: The scenario's seed.
        profile: Which of the profiles each client has, int64 of shape (clients,).
        training: Virtual seconds that local training takes each of them, float64 of shape
            (clients,).
        down: Virtual seconds for a byte that it receives, of the same shape.
        up: Virtual seconds for a byte that it sends, of the same shape.
        availability: Share of the time in which it can be asked, of the same shape.
    """

    spec: DevicesSpec
    seed: int
    profile: np.ndarray
    training: np.ndarray
    down: np.ndarray
    up: np.ndarray
    availability: np.ndarray

    def __len__(self) -> int:
        return len(self.profile)

    def seconds(
        self, down: np.ndarray | int, up: np.ndarray | int, clients: np.ndarray | None = None
    ) -> np.ndarray:
        """Virtual seconds from a message to its reply: receiving, training, sending.

        Args:
            down: Bytes that go down to each client, one number for all or of shape (n,).
            up: Bytes that come up from each client, likewise.
            clients: Some clients, int64 of shape (n,); by default all.
        """
        some = slice(None) if clients is None else clients
        return down * self.down[some] + self.training[some] + up * self.up[some]

    def available(self, now: float) -> np.ndarray:
        """Clients available at a virtual time, bool of shape (clients,)."""
        return _drawn(self.seed, self._period(now), len(self)) < self.availability

    def next_period(self, now: float) -> float:
        """The time at which availability is drawn anew."""
        return (self._period(now) + 1) * self.spec.period

    def drop_out(self, *key: int | str) -> np.ndarray:
        """Clients that drop out of a round, bool of shape (clients,).

        Args:
            *key: Which occasion it is, such as the round.
        """
        return rng.generator(self.seed, "dropout", *key).random(len(self)) < self.spec.dropout

    def _period(self, now: float) -> int:
        number = math.floor(now / self.spec.period)
        # The quotient of a period's own first moment may be rounded below its number.
        return number + ((number + 1) * self.spec.period <= now)


@lru_cache(maxsize=2)  # a period is long, and asynchronous methods ask at every event
def _drawn(seed: int, period: int, clients: int) -> np.ndarray:
    """Random numbers that decide availability in a period, uniform in [0, 1), shape (clients,)."""
    return rng.generator(seed, "available", period).random(clients)


def make_population(
    spec: DevicesSpec, seed: int, samples: np.ndarray, domains: Sequence[str], known: Sequence[str]
) -> DevicePopulation:
    """Assigns a device to every client.

    Args:
        spec: The scenario's ``devices`` block, with at least one profile.
        seed: The scenario's seed.
        samples: Training samples that each client goes through in a round, shape (clients,).
        domains: The domain that most of each client's samples are of.
        known: Names of all domains.

    Raises:
        InputError: If a profile names a domain that there is not, or a client has no profile.
    """
    profile = _profiles(spec, seed, np.asarray(domains), known)
    chosen = [spec.profiles[int(index)] for index in profile]
    sigma = np.array([device.sigma for device in chosen])
    draws = rng.generator(seed, "devices", "rates").standard_normal((len(chosen), 3))
    faster = np.exp(sigma[:, None] * draws)
    speed = faster[:, 0] * [device.samples_per_second for device in chosen]
    down = faster[:, 1] * [device.download_mbps for device in chosen]
    up = faster[:, 2] * [device.upload_mbps for device in chosen]
    return DevicePopulation(
        spec=spec,
        seed=seed,
        profile=profile,
        training=samples / speed,
        down=BITS / MEGA / down,
        up=BITS / MEGA / up,
        availability=np.array([device.availability for device in chosen]),
    )


def _profiles(
    spec: DevicesSpec, seed: int, domains: np.ndarray, known: Sequence[str]
) -> np.ndarray:
    """The profile of each client; each profile gets its share of the clients it is for."""
    named = {domain for device in spec.profiles for domain in device.domains}
    for domain in sorted(named):
        if domain not in known:
            raise InputError(
                f"devices.profiles: there is no domain '{domain}'; choose from {', '.join(known)}"
            )
    generator = rng.generator(seed, "devices", "profiles")
    profile = np.empty(len(domains), dtype=np.int64)
    groups = {domain: domain if domain in named else "" for domain in known}
    group_of = np.array([groups[domain] for domain in domains])
    for group in sorted(set(group_of)):
        members = np.flatnonzero(group_of == group)
        shares = np.array(
            [
                device.share * (group in device.domains if group else not device.domains)
                for device in spec.profiles
            ]
        )
        if not shares.any():
            domain = domains[members[0]]
            raise InputError(
                f"devices.profiles: no profile is for client {members[0]}, of the domain "
                f"'{domain}'; name the domain in one, or add one without domains"
            )
        counts = apportion(len(members), shares, generator)
        dealt = np.repeat(np.arange(len(shares)), counts)
        profile[members] = generator.permutation(dealt)
    return profile
