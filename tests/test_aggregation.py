import random

import pytest
import torch

from fedlab.federation.weighted_mean import weighted_mean


def test_mean_is_weighted_by_hand() -> None:
    updates = [{"w": torch.tensor([1.0, 2.0])}, {"w": torch.tensor([3.0, 6.0])}]
    assert weighted_mean(updates, [1, 3])["w"].tolist() == [2.5, 5.0]


def test_dtypes_are_kept_and_counters_are_not_averaged() -> None:
    updates = [
        {"w": torch.ones(2, dtype=torch.float16), "n": torch.tensor(3)},
        {"w": torch.zeros(2, dtype=torch.float16), "n": torch.tensor(8)},
    ]
    mean = weighted_mean(updates, [1, 1])
    assert mean["w"].dtype is torch.float16
    assert mean["n"].dtype is torch.int64
    assert mean["n"].item() == 8


def test_sums_are_in_double_precision() -> None:
    updates = [{"w": torch.tensor([1e8])}, {"w": torch.tensor([1.0])}, {"w": torch.tensor([-1e8])}]
    assert weighted_mean(updates, [1, 1, 1])["w"].item() == pytest.approx(1 / 3, rel=1e-6)


def test_order_does_not_matter_and_one_update_is_itself() -> None:
    generator = torch.Generator().manual_seed(0)
    updates = [{"w": torch.randn(50, generator=generator)} for _ in range(7)]
    weights = [float(i + 1) for i in range(7)]
    order = list(range(7))
    random.Random(1).shuffle(order)
    shuffled = weighted_mean([updates[i] for i in order], [weights[i] for i in order])["w"]
    torch.testing.assert_close(weighted_mean(updates, weights)["w"], shuffled, rtol=1e-6, atol=0)
    assert torch.equal(weighted_mean(updates[:1], [5.0])["w"], updates[0]["w"])


def test_refuses_different_names_and_empty_weights() -> None:
    with pytest.raises(ValueError, match="different sets"):
        weighted_mean([{"a": torch.ones(1)}, {"b": torch.ones(1)}], [1, 1])
    with pytest.raises(ValueError, match="sum to 0"):
        weighted_mean([{"a": torch.ones(1)}], [0])
