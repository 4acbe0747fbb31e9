"""NMTune: a light transform of features, and the terms that shape what it gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fedlab.clients.base import Received
from fedlab.engine.execution.runtime import Runtime
from fedlab.engine.execution.sequential import client_stats_of
from fedlab.errors import InputError
from fedlab.losses.cross_entropy import CrossEntropy
from fedlab.models.feature_transform import dominant_share, off_diagonal_covariance
from fedlab.preparation import prepare
from fedlab.records import Tensors
from fedlab.server_app import build_strategy
from fedlab.training.task import Batch
from helpers import targets, toy
from helpers.cohorts import assert_same, both, received
from helpers.method_rounds import CUT, assert_ends_alike, size


def runtime_of(target: str = "class", **block: Any) -> Runtime:
    strategy = {"name": "nmtune", "largest": 2, **block}
    chosen = targets.scenario(target, model="linear", strategy=strategy)
    prepared = prepare(chosen)
    return Runtime(chosen, prepared.data, prepared.partition, torch.device("cpu"))


def test_the_share_of_the_largest_singular_values_by_hand() -> None:
    left, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(6, 4)))
    right, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(4, 4)))
    features = torch.tensor(left * [4, 3, 2, 1] @ right)
    assert float(dominant_share(features, 2)) == pytest.approx(0.35)  # mean(.4, .3)
    assert float(dominant_share(features, 5)) == pytest.approx(0.25)  # of all four


def test_covariances_between_features_by_hand() -> None:
    features = torch.tensor([[1.0, 2.0], [3.0, 8.0]])  # covariance (2, 6; 6, 18)
    assert float(off_diagonal_covariance(features)) == 36.0
    drawn = np.random.default_rng(0).normal(3, 1, size=(7, 4))
    covariance = np.cov(drawn, rowvar=False)
    expected = (covariance**2 - np.diag(np.diag(covariance) ** 2)).sum() / 4
    assert float(off_diagonal_covariance(torch.tensor(drawn))) == pytest.approx(expected)
    assert float(off_diagonal_covariance(torch.ones(1, 3))) == 0.0


@pytest.mark.parametrize("normalised", [True, False])
def test_the_objective_is_that_of_numpy(normalised: bool) -> None:
    weights = {"consistency": 2.0, "covariance": 0.3, "singular": 0.7, "normalised": normalised}
    runtime = runtime_of(**weights, ratio=3, scale=0.25)
    trainer = runtime.trainer
    carry = trainer.begin(received(runtime), {}, client_stats_of(trainer, runtime.client_data(0)))
    data = runtime.client_data(0)
    phi = runtime.preprocess.inputs(data.inputs[:8])
    batch = Batch(phi, data.labels[:8], torch.arange(8))
    _, metrics = trainer.gradients(carry, batch, trainer.phases()[0])

    state = {name: tensor.double().numpy() for name, tensor in carry.parameters.items()}
    dense = [name.removesuffix(".weight") for name in state if state[name].ndim == 2]
    x = phi.double().numpy()
    hidden = x @ state[f"{dense[0]}.weight"].T + state[f"{dense[0]}.bias"]
    assert hidden.shape == (8, 15)
    if normalised:  # at its first values, weight 1 and bias 0
        hidden = (hidden - hidden.mean(0)) / np.sqrt(hidden.var(0) + 1e-5)
    added = np.maximum(hidden, 0) @ state[f"{dense[1]}.weight"].T + state[f"{dense[1]}.bias"]
    g = x + 0.25 * added
    outputs = g @ state[f"{dense[2]}.weight"].T + state[f"{dense[2]}.bias"]
    outputs -= np.log(np.exp(outputs).sum(axis=1, keepdims=True))
    expected = -outputs[np.arange(8), data.labels[:8].numpy()].mean()
    unit = [each / np.linalg.norm(each, axis=1, keepdims=True) for each in (g, x)]
    expected += 2.0 * ((unit[0] - unit[1]) ** 2).mean()
    covariance = np.cov(g, rowvar=False)
    expected += 0.3 * (covariance[~np.eye(5, dtype=bool)] ** 2).sum() / 5
    values = np.linalg.svd(g, compute_uv=False)
    expected -= 0.7 * (values / values.sum())[:2].mean()
    assert float(metrics["loss"]) == pytest.approx(expected, rel=1e-5)


def test_the_first_features_are_no_target_that_moves() -> None:
    """Without a loss of labels, the gradient is that of a fixed target, by differences."""
    runtime = runtime_of(consistency=1.0, covariance=0.0, singular=0.0, normalised=False)
    trainer = runtime.trainer
    carry = trainer.begin(received(runtime), {}, client_stats_of(trainer, runtime.client_data(0)))
    data = runtime.client_data(0)
    phi = runtime.preprocess.inputs(data.inputs[:6])
    batch = Batch(phi, data.labels[:6], torch.arange(6))
    grads, with_term = trainer.gradients(carry, batch, trainer.phases()[0])
    plain = runtime_of(consistency=0.0, covariance=0.0, singular=0.0, normalised=False).trainer
    others, without = plain.gradients(carry, batch, plain.phases()[0])
    assert float(with_term["loss"]) > float(without["loss"])
    scale = next(name for name in grads if name.endswith("scale"))
    head = [name for name in grads if grads[name].shape[0] == 2]
    assert not torch.equal(grads[scale], others[scale])
    assert all(torch.equal(grads[name], others[name]) for name in head)


@pytest.mark.slow_for("{'base': 'fedbn'}")
@pytest.mark.parametrize(
    "block",
    [{}, {"normalised": False, "base": {"name": "fedprox", "mu": 0.5}}, {"base": "fedbn"}],
    ids=str,
)
@pytest.mark.usefixtures("double")
def test_together_is_one_by_one(block: dict[str, Any]) -> None:
    runtime = runtime_of(**block)
    assert runtime.trainer.supports_vmap
    assert_same(*both(runtime), 1e-7)


# ---------------------------------------------------------------------- what travels, what stays

FLOAT, INTEGER = 4, 8
PLAIN = FLOAT * (5 * 20 + 20 + 20 * 5 + 5 + 5 + 5 * 2 + 2)
"""Two dense layers between 5 features and 20 hidden numbers, a factor a feature, and the head."""
AFFINE = FLOAT * 2 * 20
STATISTICS = AFFINE + INTEGER
"""Means and variances are as many as scales and shifts; the layer counts its batches."""
WHOLE = PLAIN + AFFINE + STATISTICS


@pytest.mark.parametrize(
    ("block", "up"),
    [
        ({}, WHOLE),
        ({"normalised": False}, PLAIN),
        ({"base": "fedbn"}, PLAIN),
        ({"base": "silobn"}, PLAIN + AFFINE),
        ({"base": "scaffold"}, WHOLE + PLAIN + AFFINE),
    ],
    ids=str,
)
def test_clients_send_what_the_base_sends_with_the_transform(
    block: dict[str, Any], up: int
) -> None:
    runtime = runtime_of(**block)
    strategy = build_strategy(runtime.scenario, runtime.trainer.task.model)
    strategy.initialise(dict(runtime.trainer.task.model.state_dict()))
    down = Received(strategy.broadcast(1), strategy.config(1))
    update, _ = runtime.train(0, down, {})
    assert size([dict(record) for record in update.arrays.values()]) == up
    assert size(list(down.arrays.values())) == up
    assert strategy.upload_bytes(up) == up  # as the virtual clock foretells it


@pytest.mark.slow_except("{'base': 'fedbn'}")
@pytest.mark.parametrize("block", [{}, {"base": "fedbn"}, {"base": "scaffold"}], ids=str)
def test_an_interrupted_run_ends_like_an_uninterrupted_one(
    block: dict[str, Any], tmp_path: Path
) -> None:
    strategy = {"name": "nmtune", "largest": 2, **block}
    chosen = targets.scenario("class", model="linear", strategy=strategy, **CUT)
    assert_ends_alike(chosen, tmp_path)


class Half(CrossEntropy):
    """A loss of a user's own: half of the usual one."""

    name: str = "test_nmtune:Half"

    def value(
        self, outputs: torch.Tensor, labels: torch.Tensor, indices: torch.Tensor, kept: Tensors
    ) -> torch.Tensor:
        """See `Loss.value`."""
        return super().value(outputs, labels, indices, kept) / 2


def test_a_loss_of_ones_own_takes_the_place_of_the_usual_one() -> None:
    """It is also tried before training, with the trainer of a method in front of another."""
    none = {"consistency": 0.0, "covariance": 0.0, "singular": 0.0}
    usual = runtime_of(**none)
    chosen = usual.scenario.model_copy(
        update={"training": usual.scenario.training.model_copy(update={"loss": Half()})}
    )
    prepared = prepare(chosen)
    halved = Runtime(chosen, prepared.data, prepared.partition, torch.device("cpu"))
    losses = []
    for runtime in (usual, halved):
        trainer, data = runtime.trainer, runtime.client_data(0)
        carry = trainer.begin(received(runtime), {}, client_stats_of(trainer, data))
        batch = Batch(
            runtime.preprocess.inputs(data.inputs), data.labels, torch.arange(len(data.labels))
        )
        losses.append(float(trainer.objective(carry.parameters, carry, batch)[0].detach()))
    assert losses[1] == pytest.approx(losses[0] / 2)


@pytest.mark.parametrize("target", targets.OTHERS)
def test_labels_and_numbers_are_learnt_too(target: str) -> None:
    runtime = runtime_of(target)
    _, metrics = runtime.train(0, received(runtime), {})
    assert np.isfinite(metrics["loss"])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, r"the samples are images; set data\.features"),
        ({"strategy": {"weighting": "uniform"}}, r"write strategy\.base\.weighting"),
        ({"strategy": {"base": "moon"}}, r"strategy\.base: 'moon' decides itself what"),
        ({"strategy": {"base": "fedrod"}}, r"strategy\.base: 'fedrod' decides itself what"),
        ({"strategy": {"base": "fedheal"}}, r"one method can stand before another, not two"),
    ],
    ids=str,
)
def test_what_does_not_go_with_it_is_refused(changes: dict[str, Any], words: str) -> None:
    if "strategy" in changes:
        strategy = {"name": "nmtune"} | changes["strategy"]
        with pytest.raises((InputError, ValueError), match=words):
            prepare(targets.scenario("class", model="linear", strategy=strategy))
        return
    with pytest.raises(InputError, match=words):
        prepare(toy.scenario(strategy="nmtune", model="linear"))


def test_a_network_that_learns_features_is_refused() -> None:
    model = {"name": "mlp", "hidden": [8]}
    with pytest.raises(InputError, match=r"'mlp' learns more \(.*\); use model=linear"):
        prepare(targets.scenario("class", model=model, strategy="nmtune"))
