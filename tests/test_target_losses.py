"""Losses of labels and of numbers: formulas of the papers, and PyTorch's own."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from fedlab.errors import InputError
from fedlab.losses.base import ClientStats
from fedlab.losses.bce import BCE
from fedlab.losses.distance import Huber, MAELoss, MSELoss

STATS = ClientStats(torch.tensor([3, 0, 9]), 12, 9)


def logits() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    outputs = 2 * torch.randn(6, 3, generator=generator, dtype=torch.float64)
    return outputs, (torch.rand(6, 3, generator=generator) < 0.4).double()


def value(
    loss: BCE | MSELoss | MAELoss | Huber, outputs: torch.Tensor, labels: torch.Tensor
) -> float:
    kept = loss.start(STATS, 1, 1)
    return float(loss.value(outputs, labels, torch.arange(len(labels)), kept))


def test_bce_is_pytorchs() -> None:
    outputs, labels = logits()
    plain = functional.binary_cross_entropy_with_logits
    assert value(BCE(), outputs, labels) == pytest.approx(float(plain(outputs, labels)))
    weights = torch.tensor([1.0, 2.0, 5.0])
    weighed = float(plain(outputs, labels, pos_weight=weights))
    assert value(BCE(pos_weight=(1.0, 2.0, 5.0)), outputs, labels) == pytest.approx(weighed)


def test_a_prior_is_added_as_log_odds() -> None:
    outputs, labels = logits()
    plain = functional.binary_cross_entropy_with_logits
    share = torch.tensor([3.5, 0.5, 9.5], dtype=torch.float64) / 10  # of nine labelled samples
    expected = float(plain(outputs + 2 * share.logit(), labels))
    assert value(BCE(prior="client", tau=2.0), outputs, labels) == pytest.approx(expected, rel=1e-6)
    given = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    expected = float(plain(outputs + given.logit(), labels))
    assert value(BCE(prior=(0.1, 0.5, 0.9)), outputs, labels) == pytest.approx(expected, rel=1e-6)


def test_the_asymmetric_loss_is_that_of_the_paper() -> None:
    outputs, labels = logits()
    loss = BCE(gamma_pos=1.0, gamma_neg=4.0, clip=0.05)
    p = outputs.sigmoid()
    shifted = (p - 0.05).clamp(min=0)  # equations 4 to 7
    terms = labels * (1 - p) * p.log() + (1 - labels) * shifted**4 * (1 - shifted).log()
    assert value(loss, outputs, labels) == pytest.approx(-float(terms.mean()), rel=1e-6)
    far = torch.tensor([[80.0, -80.0]], requires_grad=True)
    loss.value(far, torch.tensor([[0.0, 1.0]]), torch.arange(1), {}).backward()
    assert far.grad is not None
    assert far.grad.isfinite().all()


def test_distances_are_pytorchs() -> None:
    outputs, labels = logits()
    for loss, plain in ((MSELoss(), functional.mse_loss), (MAELoss(), functional.l1_loss)):
        assert value(loss, outputs, labels) == pytest.approx(float(plain(outputs, labels)))
    expected = float(functional.huber_loss(outputs, labels, delta=0.3))
    assert value(Huber(delta=0.3), outputs, labels) == pytest.approx(expected)


def test_numbers_for_other_labels_are_refused() -> None:
    with pytest.raises(InputError, match="pos_weight has 2 numbers, and there are 3 labels"):
        BCE(pos_weight=(1.0, 2.0)).start(STATS, 1, 1)
    with pytest.raises(ValueError, match="shares above 0 and below 1"):
        BCE(prior=(0.0, 0.5))
    with pytest.raises(ValueError, match="tau 2 is a factor on the prior, and there is none"):
        BCE(tau=2.0)
