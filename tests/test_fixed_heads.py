"""FedETF and FedBABU: classifiers that never learn, and features that do."""

from __future__ import annotations

import copy
from math import exp, log
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy, normalize

from fedlab.adaptation.personalise import personalise
from fedlab.errors import InputError
from fedlab.models.etf import SimplexETF, simplex
from fedlab.preparation import prepare
from fedlab.simulation import simulate
from helpers import toy
from helpers.cohorts import assert_same, both, ragged, received, runtime_of

DEEP = {"name": "mlp", "hidden": [16, 12]}
CNN = {"name": "small_cnn", "widths": [4, 8, 8]}
FULL = {"batch_size": "full", "local_epochs": 2, "optimizer": {"lr": 0.2, "momentum": 0.5}}
SKEWED = {"clients": 3, "labels": {"name": "classes_per_client", "count": 2}}
DECAY = {"batch_size": 16, "optimizer": {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.1}}


@pytest.mark.slow_except("fedbabu")
@pytest.mark.parametrize("method", ["fedetf", "fedbabu"])
@pytest.mark.usefixtures("double")
def test_together_is_one_by_one(method: str) -> None:
    training = {"batch_size": 8, "optimizer": {"lr": 0.01, "momentum": 0.9}}
    runtime = ragged(strategy=method, model=CNN, training=training)
    assert runtime.trainer.supports_vmap
    assert_same(*both(runtime), 1e-9)


# ---------------------------------------------------------------------- FedETF


def test_the_vectors_are_a_simplex_by_hand() -> None:
    vectors = simplex(torch.eye(3))
    assert vectors[0].tolist() == pytest.approx([0.816497, -0.408248, -0.408248], abs=1e-6)
    assert (vectors.T @ vectors).flatten().tolist() == pytest.approx(
        [1, -0.5, -0.5, -0.5, 1, -0.5, -0.5, -0.5, 1], abs=1e-6
    )


def test_in_more_dimensions_all_pairs_are_equally_far_apart() -> None:
    vectors = SimplexETF(9, 5).vectors
    expected = torch.full((5, 5), -1 / 4) + 5 / 4 * torch.eye(5)
    torch.testing.assert_close(vectors.T @ vectors, expected)
    assert not vectors.requires_grad


def test_outputs_are_scaled_cosines() -> None:
    layer = SimplexETF(3, 3)
    layer.vectors.copy_(simplex(torch.eye(3)))
    features = 7 * layer.vectors[:, :1].T  # along the first class's vector, of any length
    loss = cross_entropy(layer(features), torch.tensor([0]))
    assert loss.item() == pytest.approx(log(1 + 2 * exp(-1.5)), abs=1e-6)  # 0.368981
    with torch.no_grad():
        layer.scale.fill_(4.0)
    sharper = cross_entropy(layer(features), torch.tensor([0]))
    assert sharper.item() == pytest.approx(log(1 + 2 * exp(-6)), abs=1e-6)


@pytest.mark.usefixtures("double")
def test_fedetf_is_that_of_plain_pytorch() -> None:
    block = {"name": "fedetf", "width": 7}
    runtime = runtime_of(strategy=block, model=DEEP, training=FULL, partition=SKEWED)
    update, _ = runtime.train(0, received(runtime), {})
    data = runtime.client_data(0)
    images = runtime.preprocess.inputs(data.inputs)
    model = copy.deepcopy(runtime.trainer.task.model)
    *body, head = model.children()
    projection, classifier = head.children()
    assert isinstance(classifier, SimplexETF)
    assert projection.out_features == 7
    learning = [tensor for tensor in model.parameters() if tensor.requires_grad]
    optimizer = torch.optim.SGD(learning, lr=0.2, momentum=0.5)
    counts = torch.bincount(data.labels, minlength=4).double()
    assert (counts == 0).any()  # a class that the client does not have is masked
    for _ in range(2):
        features = projection(torch.nn.Sequential(*body)(images))
        cosines = normalize(features, dim=1) @ classifier.vectors
        optimizer.zero_grad()
        cross_entropy(classifier.scale * cosines + counts.log(), data.labels).backward()
        optimizer.step()
    state = model.state_dict()
    sent = update.arrays["arrays"]
    assert set(state) - set(sent) == {"5.1.vectors"}
    torch.testing.assert_close(sent, {name: state[name] for name in sent}, rtol=1e-6, atol=1e-7)


def test_the_classifier_is_the_seeds_and_no_decay_moves_it(tmp_path: Path) -> None:
    def vectors(seed: int) -> torch.Tensor:
        chosen = toy.scenario(strategy="fedetf", model=DEEP, training=DECAY, seed=seed)
        run = simulate(chosen, out=tmp_path / str(seed), progress=False)
        start = prepare(chosen).model.state_dict()["5.1.vectors"]
        assert torch.equal(run.model_state()["5.1.vectors"], start)
        assert run.model_state()["5.1.scale"] != 1
        return start

    assert not torch.equal(vectors(0), vectors(1))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"strategy": {"name": "fedetf", "width": 3}}, "3 dimensions have no room for the 4"),
        ({"strategy": "fedetf", "training": {"loss": "fedlc"}}, "fedetf has its own loss"),
    ],
)
def test_what_makes_no_sense_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        prepare(toy.scenario(**{"model": DEEP, **changes}))


# ---------------------------------------------------------------------- FedBABU


@pytest.mark.parametrize("model", [DEEP, CNN], ids=["mlp", "cnn"])
def test_the_head_stays_as_it_was_and_is_never_sent(model: dict[str, Any], tmp_path: Path) -> None:
    chosen = toy.scenario(strategy="fedbabu", model=model, training=DECAY, rounds=3)
    run = simulate(chosen, out=tmp_path / "run", progress=False)
    start = prepare(chosen).model.state_dict()
    *body, weight, bias = start
    for state in (run.model_state(), run.model_state(0)):
        assert list(state) == list(start)
        assert torch.equal(state[weight], start[weight])
        assert torch.equal(state[bias], start[bias])
        assert not torch.equal(state[body[0]], start[body[0]])
    traffic = run.history[run.history.metric == "bytes_up"].value
    assert (traffic == 3 * sum(start[name].nbytes for name in body)).all()


def test_all_layers_of_a_head_rest_and_their_statistics_go_with_the_body(tmp_path: Path) -> None:
    block = {"name": "fedbabu", "layers": 2}
    chosen = toy.scenario(strategy=block, model=CNN, training=DECAY)
    run = simulate(chosen, out=tmp_path / "run", progress=False)
    model = prepare(chosen).model
    learning = [name for name, _ in model.named_parameters()]
    resting = set(learning[-5:])  # a convolution without bias, its scale and shift, two of the head
    start, end = model.state_dict(), run.model_state()
    assert {name for name in start if torch.equal(start[name], end[name])} == resting
    traffic = run.history[run.history.metric == "bytes_up"].value
    sent = sum(tensor.nbytes for name, tensor in start.items() if name not in resting)
    assert (traffic == 3 * sent).all()


def test_its_global_model_is_tested_with_that_head(tmp_path: Path) -> None:
    chosen = toy.scenario(strategy="fedbabu", model=DEEP, rounds=1)
    run = simulate(chosen, out=tmp_path / "run", progress=False)
    prepared = prepare(chosen)
    model, pool = prepared.model.eval(), prepared.data.test
    model.load_state_dict(run.model_state())
    rows = pool.domains == 0
    with torch.no_grad():
        outputs = model(torch.from_numpy(pool.inputs[rows]).float() / 127.5 - 1)
    loss = cross_entropy(outputs, torch.from_numpy(pool.labels[rows])).item()
    tested = run.history.query("split == 'test' and client == -1 and metric == 'loss'")
    assert tested[tested.domain == "d0"].value.item() == pytest.approx(loss, rel=1e-5)


def test_the_body_learns_as_under_a_frozen_head() -> None:
    runtime = runtime_of(strategy="fedbabu", model=DEEP, training=FULL)
    update, _ = runtime.train(0, received(runtime), {})
    assert update.client_state == {}
    data = runtime.client_data(0)
    images = runtime.preprocess.inputs(data.inputs)
    model = copy.deepcopy(runtime.trainer.task.model)
    learning = list(model.parameters())[:-2]
    optimizer = torch.optim.SGD(learning, lr=0.2, momentum=0.5)
    for _ in range(2):
        optimizer.zero_grad()
        cross_entropy(model(images), data.labels).backward()
        optimizer.step()
    state = model.state_dict()
    assert set(state) - set(update.arrays["arrays"]) == {"5.weight", "5.bias"}
    for name, tensor in update.arrays["arrays"].items():
        torch.testing.assert_close(tensor, state[name], rtol=1e-4, atol=1e-5)


def test_clients_tune_the_head_after_training(tmp_path: Path) -> None:
    chosen = toy.scenario(strategy="fedbabu", model=DEEP, partition=SKEWED, rounds=3)
    run = simulate(chosen, out=tmp_path / "run", progress=False)
    head = personalise(run, method="head", shots=None, steps=60, head_lr=0.05)
    both_parts = personalise(run, method="lp_ft", shots=None, steps=60, head_lr=0.05)
    assert (head.after > head.before).all()
    assert head.before.tolist() == both_parts.before.tolist()


def test_a_network_of_one_layer_is_refused() -> None:
    with pytest.raises(InputError, match="fedbabu never trains the last 1 layer"):
        prepare(toy.scenario(strategy="fedbabu", model="linear"))
