"""What holds for every partition with any skews."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fedlab.data.samples import Samples
from fedlab.errors import InputError
from fedlab.partition.partition import Partition
from helpers.pools import divided, pools, sizes, table

DOMAIN_SKEWS: list[Any] = [
    "one_per_client",
    {"name": "several_per_client", "count": 2},
    "mixed",
    {"name": "mixed", "alpha": 0.3},
]
LABEL_SKEWS: list[Any] = [
    "iid",
    {"name": "dirichlet", "alpha": 0.5},
    {"name": "dirichlet", "alpha": 0.5, "per_domain": True},
    {"name": "dirichlet", "alpha": 0.2, "balanced": True},
    {"name": "dirichlet", "alpha": 1.0, "among": "all_clients"},
    {"name": "shards", "per_client": 2},
    {"name": "classes_per_client", "count": 3},
]
QUANTITY_SKEWS: list[Any] = [
    "natural",
    "equal",
    {"name": "dirichlet", "alpha": 2.0},
    {"name": "lognormal", "sigma": 1.0},
    {"name": "power_law", "exponent": 1.0},
]
LEAVES_SAMPLES_UNUSED = ("equal", "all_clients", "classes_per_client")

blocks = st.fixed_dictionaries(
    {
        "domains": st.sampled_from(DOMAIN_SKEWS),
        "labels": st.sampled_from(LABEL_SKEWS),
        "quantity": st.sampled_from(QUANTITY_SKEWS),
    }
)


@settings(max_examples=150, deadline=None)
@given(
    blocks=blocks,
    clients=st.integers(4, 40),
    domains=st.integers(2, 4),
    seed=st.integers(0, 2**40),
)
def test_every_partition_is_disjoint_covering_and_mirrored_in_its_test_splits(
    blocks: dict[str, Any], clients: int, domains: int, seed: int
) -> None:
    data = pools(train=300, test=70, domains=domains, classes=6)
    try:
        partition = divided(data, clients, seed, **blocks)
    except InputError as error:
        # The two refusals that may be right here: nothing to skew, or a very unlucky Dirichlet.
        assume("only one client" not in str(error) and "still have fewer" not in str(error))
        raise
    _offsets_fit(partition, clients)
    assert sizes(partition).min() >= 1
    assert len(np.unique(partition.train)) == len(partition.train)
    assert len(np.unique(partition.test)) == len(partition.test)
    if not any(word in str(blocks) for word in LEAVES_SAMPLES_UNUSED):
        assert len(partition.train) == len(data.train)

    train, test = table(partition, data), table(partition, data, test=True)
    pool = np.zeros(train.shape[1:], dtype=np.int64)
    np.add.at(pool, (data.test.domains, data.test.labels), 1)
    owned = train.sum(axis=0) > 0
    assert (test.sum(axis=0) == pool * owned).all()
    quota = pool * (train / np.maximum(train.sum(axis=0), 1))
    assert (np.abs(test - quota) < 1).all()


def test_a_class_that_a_domain_has_in_its_tests_alone_is_tested_there_too() -> None:
    data = pools(train=200, test=100, domains=2)
    lone = (data.train.domains == 0) & (data.train.labels == 3)
    kept = (each[~lone] for each in (data.train.inputs, data.train.labels, data.train.domains))
    less = replace(data, train=Samples(*kept))
    partition = divided(less, 8)
    tested = table(partition, less, test=True)
    there = np.zeros(tested.shape[1:], np.int64)
    np.add.at(there, (data.test.domains, data.test.labels), 1)
    assert (tested.sum(axis=0) == there).all()
    trained = table(partition, less)[:, 0].sum(axis=1)
    assert (np.abs(tested[:, 0, 3] - there[0, 3] * trained / trained.sum()) < 1).all()


def _offsets_fit(partition: Partition, clients: int) -> None:
    assert len(partition) == clients
    for offsets, indices in (
        (partition.train_offsets, partition.train),
        (partition.test_offsets, partition.test),
    ):
        assert offsets[0] == 0
        assert offsets[-1] == len(indices)
        assert (np.diff(offsets) >= 0).all()
    assert partition.labels.shape == partition.labelled.shape == partition.train.shape


@pytest.mark.parametrize("labels", LABEL_SKEWS)
def test_a_partition_is_a_function_of_its_arguments(labels: Any) -> None:
    data = pools(domains=3)
    noise = {"name": "symmetric", "rate": 0.3}
    extra = {"labels": labels, "label_budget": {"share": 0.3}, "label_noise": noise}
    first, again, other = (divided(data, 12, seed, **extra) for seed in (1, 1, 2))
    for field in vars(first):
        one, two = (np.asarray(getattr(each, field)) for each in (first, again))
        assert one.tobytes() == two.tobytes()
    assert first.train.tobytes() != other.train.tobytes()


def test_the_label_budget_and_noise_leave_the_samples_alone() -> None:
    data = pools()
    plain = divided(data, 8)
    noisy = divided(data, 8, label_budget={"share": 0.2}, label_noise={"name": "pair", "rate": 1.0})
    assert (plain.train == noisy.train).all()
    assert (plain.test == noisy.test).all()
    assert (plain.labels == data.train.labels[plain.train]).all()
    assert (noisy.labels == (plain.labels + 1) % 10).all()


def test_a_client_is_a_slice_of_the_flat_arrays() -> None:
    data = pools()
    partition = divided(data, 3)
    second = partition[1]
    assert len(second.train) == sizes(partition)[1]
    assert (np.concatenate([partition[k].train for k in range(3)]) == partition.train).all()
    assert (second.labels == data.train.labels[second.train]).all()
    assert second.labelled.all()


def test_no_client_owns_samples_of_unseen_domains() -> None:
    data = pools(domains=3, unseen=(1,))
    partition = divided(data, 6)
    train, test = table(partition, data), table(partition, data, test=True)
    assert train.sum(axis=(0, 2)).tolist() == [400, 0, 400]
    assert test.sum(axis=(0, 2)).tolist() == [100, 0, 100]


def test_more_clients_than_samples_are_refused() -> None:
    with pytest.raises(InputError, match=r"partition\.clients: 401 clients need at least 401"):
        divided(pools(), 401)
    assert (sizes(divided(pools(), 400)) == 1).all()


def test_clients_without_samples_are_refused_with_a_remedy() -> None:
    # 30 clients share the ten samples of the second domain.
    with pytest.raises(InputError, match=r"leaves \d+ of 60 clients .* use fewer clients"):
        divided(pools(train=(500, 10), domains=2), 60)


def test_a_large_population_is_divided() -> None:
    data = pools(train=200_000, test=20_000, domains=5)
    for labels in ("iid", {"name": "dirichlet", "alpha": 0.1}):
        partition = divided(data, 20_000, labels=labels)
        assert sizes(partition).min() >= 1
        assert len(partition.train) == 1_000_000
