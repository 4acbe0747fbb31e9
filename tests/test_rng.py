"""Every random number of a run is keyed on what it is for."""

from __future__ import annotations

import copy
from itertools import combinations
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from fedlab import rng
from fedlab.partition.partition import make_partition
from fedlab.partition.spec import PartitionSpec
from fedlab.preparation import prepare
from helpers import toy
from helpers.pools import divided, pools, table


def test_seeds_are_the_same_on_every_machine() -> None:
    """The first bytes of a BLAKE2b digest; if these change, every result there is changes."""
    assert rng.seed_of(0, "cohort", 1) == 9037807981105676339
    assert rng.seed_of(0, "order", 3, 7) == 7101362302044988031
    assert rng.seed_of(-5, "") == 1123302383831886720


def test_seeds_differ_by_seed_purpose_and_key() -> None:
    keys: list[tuple[Any, ...]] = [
        (0, "order", 1, 2),
        (1, "order", 1, 2),
        (0, "augment", 1, 2),
        (0, "order", 2, 2),
        (0, "order", 1, 3),
        (0, "order", 12),
        (0, "order", "1", "2", ""),
    ]
    for one, other in combinations(keys, 2):
        assert rng.seed_of(*one) != rng.seed_of(*other), (one, other)


def test_generators_of_two_purposes_are_independent() -> None:
    here, there = (rng.generator(0, purpose).normal(size=20_000) for purpose in ("a", "b"))
    assert abs(np.corrcoef(here, there)[0, 1]) < 0.03
    first, second = (torch.rand(9, generator=rng.torch_generator(0, "a", k)) for k in (1, 2))
    assert not torch.equal(first, second)
    assert torch.equal(first, torch.rand(9, generator=rng.torch_generator(0, "a", 1)))


def test_global_generators_are_put_back_after_a_block() -> None:
    torch.manual_seed(4)
    expected = torch.rand(3)
    torch.manual_seed(4)
    with rng.torch_seed(0, "a"):
        inside = torch.rand(3)
    assert torch.equal(torch.rand(3), expected)
    with rng.torch_seed(0, "a"):
        assert torch.equal(torch.rand(3), inside)
    with rng.torch_seed(0, "b"):
        assert not torch.equal(torch.rand(3), inside)


@pytest.mark.parametrize(
    "change",
    [
        {"label_noise": {"name": "symmetric", "rate": 0.3}},
        {"label_budget": {"share": 0.5}},
    ],
)
def test_a_skew_leaves_the_draws_of_the_others_alone(change: dict[str, Any]) -> None:
    """Who has which sample does not hang on whether labels are hidden or wrong."""
    skew = {"clients": 4, "labels": {"name": "dirichlet", "alpha": 0.5}}
    data: dict[str, Any] = {
        "sources": [{"name": "helpers.toy:Stripes", "train": 200}],
        "image_size": 8,
    }
    plain = prepare(toy.scenario(data=data, partition=skew, strategy="fedavg")).partition
    other = prepare(toy.scenario(data=data, partition=skew | change, strategy="fedavg")).partition
    assert np.array_equal(plain.train, other.train)
    assert np.array_equal(plain.train_offsets, other.train_offsets)


SKEWS: dict[str, Any] = {
    "domains": {"name": "mixed", "alpha": 0.7},
    "quantity": {"name": "lognormal", "sigma": 0.5},
    "labels": {"name": "dirichlet", "alpha": 0.5},
    "label_budget": {"share": 0.5},
    "label_noise": {"name": "symmetric", "rate": 0.3},
}
OTHER_SKEWS: dict[str, Any] = {
    "domains": {"name": "mixed", "alpha": 3.0},
    "quantity": {"name": "lognormal", "sigma": 1.5},
    "labels": {"name": "dirichlet", "alpha": 20.0},
    "label_budget": {"share": 0.9, "stratified": False},
    "label_noise": {"name": "symmetric", "rate": 0.1},
}


class Watched:
    """A skew that keeps what it draws next, whenever it is given a generator."""

    def __init__(self, skew: Any, draws: list[tuple[float, ...]]) -> None:
        self.skew, self.draws = skew, draws

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self.skew, name)
        if not callable(attribute):
            return attribute

        def call(*given: Any) -> Any:
            for each in given:
                if isinstance(each, np.random.Generator):
                    self.draws.append(tuple(copy.deepcopy(each).uniform(size=3)))
            return attribute(*given)

        return call


ONCE = dict.fromkeys(SKEWS, 1)


def draws_of(blocks: dict[str, Any], seed: int = 0) -> dict[str, tuple[float, ...]]:
    """The first numbers that each skew of a partition is given to draw from."""
    spec = PartitionSpec(clients=5, **blocks)
    kept: dict[str, list[tuple[float, ...]]] = {name: [] for name in SKEWS}
    watched = {name: Watched(getattr(spec, name), kept[name]) for name in SKEWS}
    rest = {"clients": 5, "held_out_clients": 0, "left_out_samples": (), "label_proportions": None}
    stand_in = cast(PartitionSpec, SimpleNamespace(**rest, **watched))
    make_partition(stand_in, pools(train=300, domains=3), seed)
    # A label budget draws samples, and the labels that are known of these.
    assert {name: len(draws) for name, draws in kept.items()} == {**ONCE, "label_budget": 2}, kept
    return {f"{name} {place}": draw for name in kept for place, draw in enumerate(kept[name])}


@pytest.mark.parametrize("changed", SKEWS)
def test_each_skew_draws_for_itself(changed: str) -> None:
    """Whatever one of them does, the others draw the same numbers, and no two draw the same."""
    before = draws_of(SKEWS)
    assert draws_of(SKEWS | {changed: OTHER_SKEWS[changed]}) == before
    assert len({*before.values()}) == len(before) == len(SKEWS) + 1
    assert not {*before.values()} & {*draws_of(SKEWS, seed=1).values()}


def test_another_alpha_leaves_every_client_its_domains() -> None:
    data = pools(train=300, domains=3)
    mild, strong = (
        table(
            divided(
                data,
                5,
                domains={"name": "several_per_client", "count": 1},
                labels={"name": "dirichlet", "alpha": alpha},
            ),
            data,
        )
        for alpha in (50.0, 0.3)
    )
    assert np.array_equal(mild.sum(axis=2) > 0, strong.sum(axis=2) > 0)
    assert not np.array_equal(mild.sum(axis=1), strong.sum(axis=1))


def test_streams_of_many_keys_are_those_of_split_mix() -> None:
    def split_mix(state: int, place: int) -> int:
        value = (state + (place + 1) * 0x9E3779B97F4A7C15) % 2**64
        value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        value = (value ^ value >> 27) * 0x94D049BB133111EB % 2**64
        return value ^ value >> 31

    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert [split_mix(1234567, place) for place in range(3)] == expected  # as others implement it
    keys, places = np.array([0, 7, 10**6]), np.array([0, 3, 1])
    expected = [
        (split_mix(split_mix(rng.seed_of(4, "some"), key), place) >> 11) / 2**53
        for key, place in zip(keys.tolist(), places.tolist(), strict=True)
    ]
    assert rng.uniforms(4, "some", keys, places).tolist() == expected
