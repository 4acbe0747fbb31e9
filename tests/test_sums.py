"""Sums of updates: the same for each order and place of the additions."""

from __future__ import annotations

import pickle
import random
from functools import cache

import pytest
import torch

from fedlab.federation.low_rank_sum import LowRankSum
from fedlab.federation.preaggregation import PairwiseSum
from fedlab.federation.weighted_mean import weighted_mean
from fedlab.federation.weighted_sum import WeightedSum

CLIENTS = 23


@cache
def updates() -> list[dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [
        {"w": torch.randn(70_000, generator=generator) * 10.0 ** (k % 7), "n": torch.tensor(k)}
        for k in range(CLIENTS)
    ]


def summed(client: int) -> WeightedSum:
    total = WeightedSum()
    total.add([{"arrays": updates()[client]}], [client + 0.3])
    return total


def weights_of(client: int) -> LowRankSum:
    """2 W_0 + Aᵀ X with as many rows as the client's index says."""
    generator = torch.Generator().manual_seed(client)
    start = torch.arange(35.0).view(5, 7)
    rows = client % 4 + 1
    left, right = (torch.randn(rows, size, generator=generator) for size in start.shape)
    return LowRankSum(start, 2.0, [(left, right)])


def plainly(client: int) -> torch.Tensor:
    value = weights_of(client)
    ((left, right),) = value.terms
    return 2 * value.start.double() + left.double().t() @ right.double()


def travelled(sums: PairwiseSum) -> PairwiseSum:
    return pickle.loads(pickle.dumps(sums, protocol=5))


@pytest.mark.parametrize("lost", [set(), {0}, {5, 6}, {22}, set(range(8, 16))])
def test_the_size_of_portions_and_the_order_of_arrival_change_no_bit(lost: set[int]) -> None:
    results = []
    for size, seed in [(1, 0), (1, 1), (2, 2), (4, 3), (8, 4), (32, 5)]:
        whole = PairwiseSum()
        starts = list(range(0, CLIENTS, size))
        random.Random(seed).shuffle(starts)
        for start in starts:
            portion = PairwiseSum()
            for client in range(start, min(start + size, CLIENTS)):
                portion.add(client, 1, None if client in lost else summed(client))
            whole.merge(travelled(portion) if seed % 2 else portion)
        total = whole.total()
        assert total is not None
        assert total.clients == CLIENTS - len(lost)
        results.append(total.mean("arrays"))
    assert all(torch.equal(result["w"], results[0]["w"]) for result in results)
    left = [client for client in range(CLIENTS) if client not in lost]
    plain = weighted_mean([updates()[k] for k in left], [k + 0.3 for k in left])
    torch.testing.assert_close(results[0], plain, rtol=1e-6, atol=1e-6)
    assert results[0]["n"].item() == max(left)


@pytest.mark.parametrize("lost", [set(), {0}, {5, 6}, set(range(8, 16))])
def test_weights_that_are_not_formed_are_summed_like_those_that_are(lost: set[int]) -> None:
    left = [client for client in range(CLIENTS) if client not in lost]
    results = []
    for size in (1, 2, 4, 8, 32):
        whole = PairwiseSum()
        for start in range(0, CLIENTS, size):
            portion = PairwiseSum()
            for client in range(start, min(start + size, CLIENTS)):
                total = WeightedSum()
                total.add([{"arrays": {"w": weights_of(client)}}], [client + 0.3])
                portion.add(client, 1, None if client in lost else total)
            whole.merge(travelled(portion))
        total = whole.total()
        assert total is not None
        results.append(total.arrays["arrays"]["w"])
    assert all(torch.equal(result, results[0]) for result in results)
    expected = sum((plainly(client) * (client + 0.3) for client in left), torch.zeros(5, 7))
    torch.testing.assert_close(results[0], expected, rtol=1e-6, atol=1e-4)
    at_once = WeightedSum()
    updates = [{"arrays": {"w": weights_of(client)}} for client in left]
    at_once.add(updates, [client + 0.3 for client in left])
    mean = expected / sum(client + 0.3 for client in left)
    torch.testing.assert_close(at_once.mean("arrays")["w"], mean.float(), rtol=1e-6, atol=1e-6)


def test_what_travelled_is_not_written_to() -> None:
    part = pickle.loads(pickle.dumps(summed(1)))
    for tensors in part.arrays.values():
        assert tensors["w"].dtype is torch.float64
    before = part.arrays["arrays"]["w"].clone()
    kept = part.arrays["arrays"]["w"]
    part.merge(summed(2))
    assert torch.equal(kept, before)
    assert not torch.equal(part.arrays["arrays"]["w"], before)


def test_channels_last_and_views_are_summed_like_others() -> None:
    images = torch.randn(3, 4, 5, 6)
    layouts = [
        images,
        images.contiguous(memory_format=torch.channels_last),
        torch.stack([images, images], dim=-1)[..., 0],
        images[:1].expand(3, 4, 5, 6),
    ]
    for layout in layouts:
        total = WeightedSum()
        total.add([{"arrays": {"w": layout}}, {"arrays": {"w": images}}], [3.0, 1.0])
        expected = ((3 * layout.double() + images.double()) / 4).float()
        torch.testing.assert_close(total.mean("arrays")["w"], expected, rtol=1e-6, atol=1e-7)
    assert torch.equal(layouts[0], images)


def test_clients_that_send_different_names_are_refused() -> None:
    total, other = summed(0), WeightedSum()
    other.add([{"arrays": {"w": torch.ones(1)}}], [1.0])
    with pytest.raises(ValueError, match="different sets"):
        total.merge(other)
    with pytest.raises(ValueError, match="different sets"):
        total.add([{"others": {}}], [1.0])
