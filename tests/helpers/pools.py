"""Pools of samples that are nothing but labels and domains, for tests of partitions."""

from __future__ import annotations

from typing import Any

import numpy as np

from fedlab.data.samples import FederatedData, Samples
from fedlab.partition.partition import Partition, make_partition
from fedlab.partition.spec import PartitionSpec

NAMES = ("paper", "photo", "street", "print", "scan")


def pools(
    train: int | tuple[int, ...] = 400,
    test: int = 100,
    domains: int = 1,
    classes: int = 10,
    unseen: tuple[int, ...] = (),
    seed: int = 0,
) -> FederatedData:
    """Pools with `train` samples in each domain (or so many in each) and random labels."""
    rng = np.random.default_rng(seed)
    sizes = (train,) * domains if isinstance(train, int) else train

    def samples(numbers: tuple[int, ...]) -> Samples:
        labels = rng.permutation(np.arange(sum(numbers)) % classes)
        indices = np.repeat(np.arange(domains), numbers)
        return Samples(np.zeros((sum(numbers), 1), np.float32), labels, indices)

    names = tuple(f"class {label}" for label in range(classes))
    return FederatedData(samples(sizes), samples((test,) * domains), NAMES[:domains], names, unseen)


def divided(data: FederatedData, clients: int, seed: int = 0, **blocks: Any) -> Partition:
    """The partition of `data` for blocks as a scenario gives them."""
    return make_partition(PartitionSpec(clients=clients, **blocks), data, seed)


def sizes(partition: Partition) -> np.ndarray:
    """Training samples of each client."""
    return np.diff(partition.train_offsets)


def table(partition: Partition, data: FederatedData, *, test: bool = False) -> np.ndarray:
    """Samples of each client in each domain and class, shape (clients, domains, classes)."""
    pool = data.test if test else data.train
    indices = partition.test if test else partition.train
    offsets = partition.test_offsets if test else partition.train_offsets
    shape = (len(partition), len(data.domain_names), len(data.class_names))
    counts = np.zeros(shape, dtype=np.int64)
    owners = np.repeat(np.arange(len(partition)), np.diff(offsets))
    np.add.at(counts, (owners, pool.domains[indices], pool.labels[indices]), 1)
    return counts
