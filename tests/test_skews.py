"""What each skew generator promises."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from fedlab.errors import InputError
from fedlab.partition.apportion import apportion, balanced_assignment, log_gamma, normalised
from helpers.pools import divided, pools, sizes, table

# Arithmetic


@given(
    total=st.integers(0, 10_000),
    weights=st.lists(st.floats(0, 1e6), min_size=1, max_size=40),
    seed=st.integers(0, 2**32),
)
def test_apportioned_parts_are_rounded_quotas(total: int, weights: list[float], seed: int) -> None:
    array = np.array(weights)
    parts = apportion(total, array, np.random.default_rng(seed))
    if not array.any():
        assert not parts.any()
        return
    assert parts.sum() == total
    assert (np.abs(parts - total * (array / array.sum())) < 1 + 1e-6).all()


@given(least=st.lists(st.integers(0, 5), min_size=3, max_size=30), seed=st.integers(0, 2**32))
def test_apportioned_parts_keep_to_their_minimum(least: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    minimum = np.array(least)
    weights = rng.pareto(0.5, len(minimum)) + 1e-9
    total = int(minimum.sum() + rng.integers(50))
    parts = apportion(total, weights, rng, minimum)
    assert parts.sum() == total
    assert (parts >= minimum).all()


def test_small_quotas_are_served_on_average() -> None:
    rng = np.random.default_rng(0)
    parts = sum(apportion(30, np.ones(100), rng) for _ in range(500))
    assert np.abs(parts / 500 - 0.3).max() < 0.1


@given(
    choosers=st.integers(1, 60),
    options=st.integers(1, 12),
    count=st.integers(1, 12),
    seed=st.integers(0, 2**32),
)
def test_balanced_choices_differ_and_are_equally_popular(
    choosers: int, options: int, count: int, seed: int
) -> None:
    count = min(count, options)
    chosen = balanced_assignment(choosers, options, count, np.random.default_rng(seed))
    assert all(len(set(row)) == count for row in chosen.tolist())
    popularity = np.bincount(chosen.ravel(), minlength=options)
    assert popularity.max() - popularity.min() <= 1


def test_tiny_alphas_do_not_underflow() -> None:
    proportions = normalised(log_gamma(1e-4, (1000, 4), np.random.default_rng(0)), axis=1)
    assert np.allclose(proportions.sum(axis=1), 1)
    assert np.allclose(proportions.mean(axis=0), 0.25, atol=0.06)


# Domains


def test_clients_take_turns_with_the_domains() -> None:
    data = pools(domains=3)
    by_domain = table(divided(data, 7), data).sum(axis=2)
    assert (by_domain.argmax(axis=1) == np.arange(7) % 3).all()
    assert (np.count_nonzero(by_domain, axis=1) == 1).all()
    assert by_domain.sum(axis=0).tolist() == [400, 400, 400]


def test_clients_per_domain_are_as_configured() -> None:
    data = pools(domains=3)
    domains = {"name": "one_per_client", "clients_per_domain": {"street": 3, "paper": 1}}
    by_domain = table(divided(data, 4, domains=domains), data).sum(axis=2)
    assert by_domain.argmax(axis=1).tolist() == [0, 2, 2, 2]
    assert by_domain.sum(axis=0).tolist() == [400, 0, 400]
    with pytest.raises(InputError, match=r"add up to 4 clients and partition\.clients is 5"):
        divided(data, 5, domains=domains)
    wrong = {"name": "one_per_client", "clients_per_domain": {"scan": 4}}
    with pytest.raises(InputError, match="domain 'scan'; the domains are paper, photo, street"):
        divided(data, 4, domains=wrong)


def test_every_domain_needs_a_client() -> None:
    with pytest.raises(InputError, match=r"2 clients that see 1 domain.* cannot cover the 3"):
        divided(pools(domains=3), 2)


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_clients_see_as_many_domains_as_configured(count: int) -> None:
    data = pools(domains=5)
    partition = divided(data, 20, domains={"name": "several_per_client", "count": count})
    seen = table(partition, data).sum(axis=2) > 0
    assert (seen.sum(axis=1) == count).all()
    assert (seen.sum(axis=0) == 20 * count / 5).all()


def test_no_client_sees_more_domains_than_there_are() -> None:
    with pytest.raises(InputError, match=r"partition\.domains\.count.* use at most 3"):
        divided(pools(domains=3), 9, domains={"name": "several_per_client", "count": 4})


def test_mixed_domains_are_proportional_or_dirichlet() -> None:
    data = pools(train=(800, 400), domains=2)
    alike = table(divided(data, 10, domains="mixed"), data).sum(axis=2)
    assert (alike == [80, 40]).all()
    uneven = [
        table(divided(data, 40, domains={"name": "mixed", "alpha": alpha}), data).sum(axis=2)
        for alpha in (0.05, 100.0)
    ]
    purity = [(counts.max(axis=1) / counts.sum(axis=1)).mean() for counts in uneven]
    assert purity[0] > 0.9
    assert purity[1] < 0.75


# Labels


def test_iid_clients_have_nearly_the_label_distribution_of_the_pool() -> None:
    data = pools(train=5000)
    by_class = table(divided(data, 5), data).sum(axis=1)
    assert np.abs(by_class / 1000 - 0.1).max() < 0.04


def test_classwise_dirichlet_is_skewed_in_labels_and_sizes() -> None:
    data = pools(train=5000)
    spread = {}
    for alpha in (0.1, 1000.0):
        partition = divided(data, 20, labels={"name": "dirichlet", "alpha": alpha})
        by_class = table(partition, data).sum(axis=1)
        distance = np.abs(by_class / by_class.sum(axis=1, keepdims=True) - 0.1).sum(axis=1) / 2
        spread[alpha] = distance.mean(), sizes(partition).std()
    assert spread[0.1][0] > 0.5
    assert spread[0.1][1] > 80
    assert spread[1000.0][0] < 0.05
    assert spread[1000.0][1] < 10


def test_dirichlet_shares_have_the_mean_and_variance_of_their_distribution() -> None:
    data = pools(train=10_000, classes=50)
    partition = divided(data, 10, labels={"name": "dirichlet", "alpha": 0.5})
    shares = table(partition, data).sum(axis=1) / 200
    assert np.isclose(shares.mean(), 0.1)
    assert np.isclose(shares.var(), 0.1 * 0.9 / (10 * 0.5 + 1), rtol=0.25)


def test_balanced_dirichlet_keeps_the_sizes() -> None:
    data = pools(train=2000)
    labels = {"name": "dirichlet", "alpha": 0.1, "balanced": True}
    partition = divided(data, 40, labels=labels)
    assert (sizes(partition) == 50).all()
    by_class = table(partition, data).sum(axis=1)
    assert (by_class.max(axis=1) / 50).mean() > 0.5


def test_draws_are_shared_over_domains_by_default() -> None:
    data = pools(train=4000, domains=2)
    difference = {}
    for per_domain in (False, True):
        labels = {"name": "dirichlet", "alpha": 0.2, "per_domain": per_domain}
        counts = table(divided(data, 8, domains="mixed", labels=labels), data)
        difference[per_domain] = np.abs(counts[:, 0] - counts[:, 1]).mean()
    assert difference[False] < 5
    assert difference[True] > 20


def test_the_only_client_of_a_domain_is_skewed_among_all_clients() -> None:
    # Office-Home-LDS: client d gets the share p[d, c] of class c of its own domain.
    data = pools(train=6500, domains=4, classes=65)
    labels = {"name": "dirichlet", "alpha": 0.1, "among": "all_clients"}
    counts = table(divided(data, 4, labels=labels), data)
    assert (counts.sum(axis=2) > 0).tolist() == np.eye(4, dtype=bool).tolist()
    shares = counts.sum(axis=1) / 100  # every domain has about 100 samples of each class
    assert (shares.max(axis=0) > 0.5).mean() > 0.7


@pytest.mark.slow_except("0.5-2", "0.1-4")
@pytest.mark.parametrize(("alpha", "domains"), [(0.1, 4), (0.5, 4), (0.5, 2), (2.0, 5)])
def test_shares_among_all_clients_have_the_moments_of_their_distribution(
    alpha: float, domains: int
) -> None:
    """p of Dir(α) over n clients has mean 1/n and variance (n - 1) / (n² (n α + 1))."""
    data = pools(train=65 * 200, domains=domains, classes=65)
    labels = {"name": "dirichlet", "alpha": alpha, "among": "all_clients"}
    own = np.arange(domains)
    cells = data.train.domains * 65 + data.train.labels
    totals = np.bincount(cells, minlength=65 * domains).reshape(domains, 65)
    drawn = []
    for seed in range(12):
        counts = table(divided(data, domains, seed, labels=labels), data)[own, own]
        drawn.append(counts / totals)
    shares = np.concatenate(drawn, axis=1).ravel()
    variance = (domains - 1) / (domains**2 * (domains * alpha + 1))
    error = 4 * np.sqrt(variance / len(shares))
    assert shares.mean() == pytest.approx(1 / domains, abs=error)
    assert shares.var() == pytest.approx(variance, rel=0.12)


def niid_bench(labels: np.ndarray, clients: int, alpha: float, rng: np.random.Generator) -> list:
    """Sizes of the clients as NIID-Bench's description has it, written anew with plain loops."""
    while True:
        sizes = np.zeros(clients)
        for label in range(10):
            proportions = rng.dirichlet([alpha] * clients)
            proportions = proportions * (sizes < len(labels) / clients)
            sizes += proportions / proportions.sum() * (labels == label).sum()
        if sizes.min() >= 10:
            return sizes.tolist()


def test_capped_sizes_are_those_of_niid_bench() -> None:
    data = pools(train=5000)
    rng = np.random.default_rng(0)
    theirs = [max(niid_bench(data.train.labels, 10, 0.1, rng)) / 5000 for _ in range(60)]

    def largest(**more: object) -> float:
        labels = {"name": "dirichlet", "alpha": 0.1, "min_samples": 10, **more}
        found = [sizes(divided(data, 10, seed, labels=labels)).max() / 5000 for seed in range(60)]
        return float(np.mean(found))

    error = 3 * np.std(theirs) * (2 / 60) ** 0.5
    assert largest(capped=True) == pytest.approx(np.mean(theirs), abs=error)
    assert largest() > np.mean(theirs) + error


@pytest.mark.parametrize("other", [{"balanced": True}, {"among": "all_clients"}])
def test_a_cap_is_for_classes_that_are_divided(other: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=r"capped and .* exclude each other"):
        divided(pools(), 4, labels={"name": "dirichlet", "alpha": 1.0, "capped": True, **other})


@pytest.mark.parametrize(
    "labels", [{"name": "dirichlet", "alpha": 0.1}, {"name": "shards", "per_client": 2}]
)
def test_skews_that_change_nothing_are_refused(labels: dict[str, object]) -> None:
    with pytest.raises(InputError, match=r"every domain has only one client.*all_clients"):
        divided(pools(domains=3), 3, labels=labels)


def test_min_samples_are_reached_or_refused() -> None:
    data = pools(train=1000)
    labels = {"name": "dirichlet", "alpha": 0.1, "min_samples": 15}
    for seed in range(20):
        assert sizes(divided(data, 20, seed, labels=labels)).min() >= 15
    with pytest.raises(InputError, match=r"fewer than 60 sample\(s\); raise alpha"):
        divided(data, 20, labels=labels | {"min_samples": 60})
    with pytest.raises(InputError, match=r"partition\.labels\.min_samples: 51 .* smallest has 50"):
        divided(data, 20, labels=labels | {"min_samples": 51, "balanced": True})


def test_balanced_sizes_and_unused_parts_exclude_each_other() -> None:
    labels = {"name": "dirichlet", "alpha": 1.0, "balanced": True, "among": "all_clients"}
    with pytest.raises(ValidationError, match="use one of the two"):
        divided(pools(), 4, labels=labels)


def test_shards_are_mcmahans() -> None:
    data = pools(train=6000)
    partition = divided(data, 10, labels={"name": "shards", "per_client": 2})
    by_class = table(partition, data).sum(axis=1)
    assert (sizes(partition) == 600).all()
    # 20 shards of 300 samples, two to a class: a client has two shards, of one class or two.
    assert set(by_class.ravel().tolist()) <= {0, 300, 600}


def test_shards_of_a_client_are_of_the_same_classes_in_all_domains() -> None:
    data = pools(train=2000, domains=2)
    labels = {"name": "shards", "per_client": 2}
    counts = table(divided(data, 10, domains="mixed", labels=labels), data)
    overlap = np.minimum(counts[:, 0], counts[:, 1]).sum() / counts[:, 0].sum()
    assert overlap > 0.8


def test_more_shards_than_samples_are_refused() -> None:
    message = (
        r"partition\.labels\.per_client: 40 shards for each of 100 clients need at least 4000 "
        r"samples and there are 3715 in the domain 'paper'; use fewer shards or clients"
    )
    with pytest.raises(InputError, match=message):
        divided(pools(train=3715), 100, labels={"name": "shards", "per_client": 40})


@settings(max_examples=40, deadline=None)
@given(clients=st.integers(10, 40), count=st.integers(1, 10), seed=st.integers(0, 2**32))
def test_clients_have_as_many_classes_as_configured(clients: int, count: int, seed: int) -> None:
    data = pools(train=1000, domains=2)
    labels = {"name": "classes_per_client", "count": count}
    owned = table(divided(data, clients, seed, labels=labels), data).sum(axis=1) > 0
    assert (owned.sum(axis=1) == count).all()
    popularity = owned.sum(axis=0)
    assert popularity.max() - popularity.min() <= 2  # at most one in each domain


def test_no_client_has_more_classes_than_there_are() -> None:
    with pytest.raises(InputError, match=r"partition\.labels\.count.* use at most 10"):
        divided(pools(), 4, labels={"name": "classes_per_client", "count": 11})


# Sizes


def test_equal_sizes() -> None:
    data = pools(train=(500, 250), domains=2)
    assert (sizes(divided(data, 10, quantity="equal")) == 50).all()
    exact = {"name": "equal", "samples_per_client": 30}
    assert (sizes(divided(data, 10, quantity=exact)) == 30).all()
    with pytest.raises(InputError, match=r"client 1 has only 50 of the 60 .* use at most 50"):
        divided(data, 10, quantity=exact | {"samples_per_client": 60})


def test_subsampling_keeps_the_label_skew_and_all_test_samples() -> None:
    data = pools(train=4000, test=1000)
    labels = {"name": "classes_per_client", "count": 2}
    exact = {"name": "equal", "samples_per_client": 20}
    partition = divided(data, 10, labels=labels, quantity=exact)
    assert (np.count_nonzero(table(partition, data).sum(axis=1), axis=1) == 2).all()
    assert len(partition.test) == 1000


@pytest.mark.parametrize("labels", ["iid", {"name": "dirichlet", "alpha": 0.1, "balanced": True}])
def test_power_law_sizes_are_exact(labels: object) -> None:
    quantity = {"name": "power_law", "exponent": 1.0}
    partition = divided(pools(train=29290), 10, labels=labels, quantity=quantity)
    exact = 10_000 / np.arange(1, 11)  # 29290 samples over ten clients
    assert np.abs(np.sort(sizes(partition))[::-1] - exact).max() < 1.01


@pytest.mark.parametrize(
    ("quantity", "spread"),
    [
        ({"name": "lognormal", "sigma": 0.5}, 0.5),
        ({"name": "lognormal", "sigma": 1.0}, 1.0),
        ({"name": "dirichlet", "alpha": 100.0}, 0.1),
        ({"name": "dirichlet", "alpha": 4.0}, 0.53),
    ],
)
def test_random_sizes_spread_as_configured(quantity: dict[str, object], spread: float) -> None:
    partition = divided(pools(train=100_000), 400, quantity=quantity)
    assert len(partition.train) == 100_000
    assert np.isclose(np.log(sizes(partition)).std(), spread, rtol=0.15)


@pytest.mark.parametrize("labels", ["iid", {"name": "dirichlet", "alpha": 1.0}])
def test_very_unequal_sizes_leave_everybody_a_sample(labels: object) -> None:
    for quantity in ({"name": "dirichlet", "alpha": 0.01}, {"name": "power_law", "exponent": 5.0}):
        assert sizes(divided(pools(), 40, labels=labels, quantity=quantity)).min() >= 1


def test_small_clients_have_as_many_classes_as_large_ones() -> None:
    data = pools(train=2000)
    labels = {"name": "classes_per_client", "count": 3}
    quantity = {"name": "power_law", "exponent": 3.0}
    counts = table(divided(data, 30, labels=labels, quantity=quantity), data).sum(axis=1)
    assert (np.count_nonzero(counts, axis=1) == 3).all()


# Label budget and label noise


@settings(max_examples=50, deadline=None)
@given(share=st.floats(0.01, 1.0), clients=st.integers(1, 30), seed=st.integers(0, 2**32))
def test_a_stratified_budget_holds_for_each_class_of_each_client(
    share: float, clients: int, seed: int
) -> None:
    data = pools(train=600)
    partition = divided(data, clients, seed, label_budget={"share": share})
    owners = np.repeat(np.arange(clients), sizes(partition))
    group = owners * 10 + partition.labels
    total = np.bincount(group)
    labelled = np.bincount(group, weights=partition.labelled)
    assert (labelled[total > 0] >= 1).all()
    assert (np.abs(labelled - share * total) < 1).all()


def test_a_plain_budget_holds_for_each_client() -> None:
    data = pools(train=600)
    partition = divided(data, 12, label_budget={"share": 0.25, "stratified": False})
    owners = np.repeat(np.arange(12), sizes(partition))
    labelled = np.bincount(owners, weights=partition.labelled)
    assert set(labelled.tolist()) <= {12.0, 13.0}
    assert labelled.sum() in (150, 151)


def _wrong(noise: dict[str, object], clients: int = 10) -> np.ndarray:
    """Share of wrong labels of each client."""
    data = pools(train=20_000)
    partition = divided(data, clients, label_noise=noise)
    wrong = partition.labels != data.train.labels[partition.train]
    owners = np.repeat(np.arange(clients), sizes(partition))
    return np.bincount(owners, weights=wrong) / sizes(partition)


def test_symmetric_noise_hits_its_share_of_labels() -> None:
    assert np.allclose(_wrong({"name": "symmetric", "rate": 0.4}), 0.4, atol=0.05)
    with_true = _wrong({"name": "symmetric", "rate": 0.4, "include_true": True})
    assert np.allclose(with_true, 0.36, atol=0.05)
    assert (_wrong({"name": "symmetric", "rate": 1.0}) == 1).all()


def test_symmetric_noise_is_uniform_over_the_other_classes() -> None:
    data = pools(train=90_000)
    partition = divided(data, 1, label_noise={"name": "symmetric", "rate": 1.0})
    turn = np.bincount((partition.labels - data.train.labels[partition.train]) % 10)
    assert turn[0] == 0
    assert np.allclose(turn[1:] / 10_000, 1, atol=0.05)


def test_only_some_clients_are_noisy() -> None:
    wrong = _wrong({"name": "symmetric", "rate": 0.5, "clients_share": 0.3})
    assert (wrong == 0).sum() == 7
    assert (wrong > 0.4).sum() == 3


def test_clients_draw_their_own_rate() -> None:
    wrong = _wrong({"name": "pair", "rate": [0.1, 0.7]}, clients=40)
    assert wrong.min() < 0.25
    assert wrong.max() > 0.55
    assert (wrong > 0.04).all()
    assert (wrong < 0.78).all()


def test_pairs_may_be_named() -> None:
    data = pools(train=1000)
    pairs = {"class 3": "class 8", "class 8": "class 3"}
    noise = {"name": "pair", "rate": 1.0, "pairs": pairs}
    partition = divided(data, 2, label_noise=noise)
    true = data.train.labels[partition.train]
    expected = np.where(true == 3, 8, np.where(true == 8, 3, true))
    assert (partition.labels == expected).all()
    noise["pairs"] = {3: 8}
    with pytest.raises(InputError, match="there is no class '3'; the classes are class 0"):
        divided(data, 2, label_noise=noise)


def test_noise_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"use \[0\.1, 0\.4\]"):
        divided(pools(), 2, label_noise={"name": "symmetric", "rate": [0.4, 0.1]})
    with pytest.raises(InputError, match="no other class than 'class 0'"):
        divided(pools(classes=1), 2, label_noise={"name": "symmetric", "rate": 0.5})


def test_each_client_takes_a_fixed_share_of_its_domain() -> None:
    data = pools(train=(300, 111), domains=2, classes=2)
    counts = dict(zip(data.domain_names, (4, 2), strict=True))
    domains = {"name": "one_per_client", "clients_per_domain": counts}
    quantity = {"name": "share_of_domain", "share": 0.1}
    partition = divided(data, 6, domains=domains, quantity=quantity)
    assert sizes(partition).tolist() == [30] * 4 + [11] * 2
    assert len(set(partition.train.tolist())) == 142
    assert len(partition.test) == len(data.test)


def test_a_share_that_is_not_there_is_refused() -> None:
    data = pools(train=(300, 9), domains=2)
    with pytest.raises(InputError, match="is 90 of its 300 samples, and one of its 4"):
        divided(data, 8, quantity={"name": "share_of_domain", "share": 0.3})
    with pytest.raises(InputError, match="less than one of its 9 samples"):
        divided(data, 2, quantity={"name": "share_of_domain", "share": 0.05})


def test_numbers_of_clients_can_be_drawn() -> None:
    data = pools(domains=4)
    skew = {"name": "one_per_client", "clients_per_domain": "random"}

    def numbers(seed: int, **bounds: int) -> list[int]:
        counts = table(divided(data, 20, seed, domains={**skew, **bounds}), data).sum(axis=2)
        assert (np.count_nonzero(counts, axis=1) == 1).all()
        return np.count_nonzero(counts, axis=0).tolist()

    assert numbers(1) == numbers(1)
    assert len({tuple(numbers(seed)) for seed in range(5)}) > 1
    assert all(min(numbers(seed)) >= 1 for seed in range(20))
    assert numbers(0, at_most=5) == [5, 5, 5, 5]
    assert max(max(numbers(seed, at_most=7, at_least=2)) for seed in range(20)) <= 7
    with pytest.raises(InputError, match="20 clients cannot be at_least 1 and at_most 4"):
        numbers(0, at_most=4)
    with pytest.raises(ValidationError, match="bound the numbers of"):
        divided(data, 4, domains={"name": "one_per_client", "at_most": 2})
