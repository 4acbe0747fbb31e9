"""The formulas of forgetting, worked out by hand or in plain PyTorch."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch.distributions import Normal, kl_divergence
from torch.nn.functional import mse_loss

from fedlab.unlearning.feature_autoencoder import KL_WEIGHT, FeatureAutoencoder, fit_together
from fedlab.unlearning.label_agnostic import alignment_loss, extraction_loss, gap
from fedlab.unlearning.membership import attack
from fedlab.unlearning.projected_ascent import project
from fedlab.unlearning.reference_model import without_local


def tensor(*values: float) -> torch.Tensor:
    return torch.tensor(values)


# ------------------------------------------------------------------ projected ascent


def test_a_client_is_taken_out_of_the_mean() -> None:
    mean = {"w": tensor(1.0), "seen": torch.tensor(7)}
    found = without_local(mean, {"w": tensor(0.0), "seen": torch.tensor(3)}, 1 / 5)
    assert found["w"].item() == pytest.approx(1.25)  # (5 * 1 - 0) / 4
    assert found["seen"].item() == 7
    weighted = {"w": 0.2 * tensor(3.0) + 0.3 * tensor(5.0) + 0.5 * tensor(-1.0)}
    rest = without_local(weighted, {"w": tensor(-1.0)}, 0.5)
    assert rest["w"].item() == pytest.approx(0.4 * 3 + 0.6 * 5)


def test_what_is_outside_the_ball_is_put_onto_it() -> None:
    centre = {"a": tensor(10.0), "b": tensor(-1.0), "other": tensor(9.0)}
    outside = {"a": tensor(13.0), "b": tensor(3.0)}  # 3 and 4 away
    found = project(outside, centre, 2.0)  # R = r^2 = 4 < 25
    assert found["a"].item() == pytest.approx(10 + 1.2)
    assert found["b"].item() == pytest.approx(-1 + 1.6)
    assert project(outside, centre, 5.0) is outside
    assert project(outside, centre, 6.0) is outside


def test_a_step_beyond_all_numbers_is_not_put_back_to_the_centre() -> None:
    beyond = {"a": tensor(3e38), "b": tensor(3.0)}
    assert not project(beyond, {"a": tensor(10.0), "b": tensor(-1.0)}, 2.0)["b"].isfinite()


# ------------------------------------------------------------------ label-agnostic forgetting


def test_the_gap_saturates() -> None:
    made, features = torch.tensor([[1.0, 2.0], [0.0, 0.0], [100.0, 0.0]]), torch.zeros(3, 2)
    features[0] = tensor(1.0, 1.0)
    found = gap(made, features).tolist()
    assert found[0] == pytest.approx(1.648721, abs=1e-6)  # s = 1: exp(1/2)
    assert found[1] == 1
    assert 2.717 < found[2] < math.e


def test_extraction_keeps_what_remains_and_drives_away_what_is_forgotten() -> None:
    rest = torch.tensor([[1.0, 0.0], [0.0, 0.0]]), torch.zeros(2, 2)
    gone = torch.tensor([[1.0, 1.0]]), torch.zeros(1, 2)
    expected = math.exp(1 / 2) + math.exp(0) - math.exp(2 / 3)
    assert extraction_loss(rest, gone).item() == pytest.approx(expected)


def test_alignment_by_hand() -> None:
    old = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    rest = torch.tensor([[1.0, 0.0], [1.0, 1.0]]), old  # d_r: 0 and 1 - 1 / sqrt 2
    gone = torch.tensor([[0.0, 3.0], [-1.0, 0.0]]), old  # d_u: 1 and 2
    near = [0.0, 1 - 1 / math.sqrt(2)]
    denominator = math.exp(1 / 5) + math.exp(2 / 5)
    expected = sum(math.log(math.exp(each) / denominator) for each in near)
    assert alignment_loss(rest, gone, 5.0).item() == pytest.approx(expected, abs=1e-6)


def test_the_autoencoder_minimises_error_and_divergence() -> None:
    torch.manual_seed(0)
    model, features = FeatureAutoencoder(16, 3), torch.randn(5, 16)
    noise = torch.randn(5, 3)
    hidden = model.encoder(features)
    mean, deviation = model.mean(hidden), (model.log_variance(hidden) / 2).exp()
    made = model.decoder(mean + deviation * noise)
    divergence = kl_divergence(Normal(mean, deviation), Normal(0.0, 1.0)).sum()
    error = mse_loss(made, features, reduction="sum")
    expected = (error + KL_WEIGHT * divergence) / 5
    torch.testing.assert_close(model.objective(features, noise), expected)
    torch.testing.assert_close(model(features), model.decoder(mean))
    assert KL_WEIGHT == 0.025


def test_autoencoders_are_averaged_by_samples() -> None:
    torch.manual_seed(0)
    start = FeatureAutoencoder(8, 2)
    features = {0: torch.randn(3, 8), 4: torch.randn(9, 8)}
    options = {"rounds": 1, "epochs": 2, "batch_size": 4, "seed": 1}
    alone = []
    for client in features:
        one = FeatureAutoencoder(8, 2)
        one.load_state_dict(start.state_dict())
        fit_together(one, {client: features[client]}, **options)  # type: ignore[arg-type]
        alone.append(one.state_dict())
    fit_together(start, features, **options)  # type: ignore[arg-type]
    for name, value in start.state_dict().items():
        torch.testing.assert_close(value, 0.25 * alone[0][name] + 0.75 * alone[1][name])


# ------------------------------------------------------------------ the attack


def test_the_area_is_that_of_scikit_learn_with_weights_of_cells() -> None:
    generator = np.random.default_rng(0)
    members, others = generator.normal(0, 1, 40).round(1), generator.normal(0.5, 1, 90).round(1)
    of_members, of_others = generator.integers(0, 3, 40), generator.integers(0, 4, 90)
    found = attack(members, of_members, others, of_others)
    kept = of_others < 3
    shares = np.bincount(of_members) / np.bincount(of_others[kept])
    weights = np.concatenate([np.ones(40), shares[of_others[kept]]])
    scores = -np.concatenate([members, others[kept]])
    expected = roc_auc_score([1] * 40 + [0] * kept.sum(), scores, sample_weight=weights)
    assert found.auc == pytest.approx(expected)
    assert (found.members, found.others) == (40, kept.sum())


def test_the_interval_is_delongs() -> None:
    members, others = np.array([0.1, 0.4, 0.2]), np.array([0.3, 0.5, 0.15, 0.9])
    same = np.zeros(3, int), np.zeros(4, int)
    found = attack(members, same[0], others, same[1])
    of_member = np.array([4, 2, 3]) / 4  # others with a larger loss
    of_other = np.array([2, 3, 1, 3]) / 3  # members with a smaller one
    assert found.auc == pytest.approx(of_member.mean())
    variance = of_member.var(ddof=1) / 3 + of_other.var(ddof=1) / 4
    assert found.low == pytest.approx(0.75 - 1.959964 * math.sqrt(variance), abs=1e-6)
    assert found.high == 1.0  # cut
    assert found.at_chance


def test_a_hard_class_does_not_look_like_membership() -> None:
    generator = np.random.default_rng(1)
    cells = np.repeat([0, 1], [90, 10]), np.repeat([0, 1], [500, 500])
    losses = [generator.normal(3.0 * each, 1.0) for each in cells]
    found = attack(losses[0], cells[0], losses[1], cells[1])
    assert found.at_chance
    plain = attack(losses[0], 0 * cells[0], losses[1], 0 * cells[1])
    assert not plain.at_chance


def test_too_few_samples_tell_nothing() -> None:
    one, two = np.zeros(1, int), np.array([0, 0])
    found = attack(np.array([0.1]), one, np.array([0.2, 0.3]), two)
    assert found[:3] == (1.0, 0.0, 1.0)
    nothing = attack(np.array([0.1]), one, np.array([0.2]), one + 1)
    assert math.isnan(nothing.auc)
    assert nothing.at_chance
