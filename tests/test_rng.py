"""Every random number of a run is keyed on what it is for."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch

from fedlab import rng
from fedlab.preparation import prepare
from helpers import toy


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
