"""FDSE: layers, steps and mixtures by hand, a client's round in plain PyTorch, and what travels."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from fedlab.clients.base import Received
from fedlab.clients.fdse import divergence, squared_distance
from fedlab.engine.execution.batch_schedule import plan_round
from fedlab.engine.execution.runtime import Runtime
from fedlab.errors import InputError
from fedlab.federation.client_updates import ClientUpdate
from fedlab.federation.least_norm import least_norm_weights
from fedlab.models.resnet import ResNet20
from fedlab.models.skew_eraser import DecomposedLayer, decompose, decomposed_layers
from fedlab.preparation import prepare
from fedlab.server_app import build_strategy
from fedlab.simulation import simulate
from fedlab.strategies.base import Strategy
from fedlab.strategies.fdse import FDSE, FDSEParameters, agreed_step, mix
from helpers import toy
from helpers.cohorts import runtime_of
from helpers.method_rounds import size
from helpers.running import At

CNN = {"name": "small_cnn", "widths": [4, 5, 6]}
METHOD = {"name": "fdse", "ratio": 3, "lam": 0.3, "beta": 0.7}


def rows(*values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


# ---------------------------------------------------------------------- layers


@pytest.mark.parametrize("ratio", [2, 3])
def test_a_convolution_is_that_written_out(ratio: int) -> None:
    norm = nn.BatchNorm2d(5)
    layer = DecomposedLayer(nn.Conv2d(3, 5, 5, stride=2, padding=2), ratio, norm)
    nn.init.normal_(layer.bias)
    for each in (layer.skew_norm, norm):
        nn.init.normal_(each.weight)
        nn.init.normal_(each.bias)
    few = {2: 3, 3: 2}[ratio]
    images = torch.randn(4, 3, 8, 8)
    extracted = functional.conv2d(
        images, layer.extractor.weight, layer.extractor.bias, stride=2, padding=2
    )
    assert extracted.shape[1] == few
    first = functional.batch_norm(
        extracted, None, None, layer.skew_norm.weight, layer.skew_norm.bias, training=True
    )
    second = functional.conv2d(first, layer.eraser.weight, padding=1, groups=few)
    both = torch.cat([first, second], dim=1)[:, :5] + layer.bias[:, None, None]
    expected = functional.batch_norm(both, None, None, norm.weight, norm.bias, training=True)
    torch.testing.assert_close(layer(images), expected)
    assert layer.norm is norm


def test_a_dense_layer_is_a_convolution_of_one_pixel() -> None:
    dense, ones = nn.Linear(6, 4), nn.Conv1d(6, 4, 1)
    layer, other = DecomposedLayer(dense, 2, None), DecomposedLayer(ones, 2, None)
    other.eraser = layer.eraser
    other.extractor.weight.data = layer.extractor.weight.data[:, :, None]
    other.extractor.bias = layer.extractor.bias
    inputs = torch.randn(7, 6)
    torch.testing.assert_close(layer(inputs), other(inputs[:, :, None])[:, :, 0])


def test_a_networks_own_normalisation_becomes_that_of_the_layer() -> None:
    plain = ResNet20().network((3, 32, 32), 4)
    model = decompose(copy.deepcopy(plain), 2)
    assert len(decomposed_layers(model)) == 19
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(norms) == 2 * 19  # one before the eraser and one behind: none is left over
    share = sum(p.numel() for p in model.parameters()) / sum(p.numel() for p in plain.parameters())
    assert share == pytest.approx(0.5, abs=0.06)


class Odd(nn.Module):
    """A convolution behind which a sum stands, one that more than a normalisation reads, a grouped
    one, a frozen one, and one used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.added, self.grouped = nn.Conv2d(2, 4, 1), nn.Conv2d(4, 4, 3, padding=1, groups=2)
        self.frozen, self.twice = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)
        self.frozen.requires_grad_(requires_grad=False)
        self.norm, self.head = nn.BatchNorm2d(4), nn.Linear(4, 3)
        self.skipped, self.beside = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.added(images)
        maps = self.skipped(self.norm(maps + self.grouped(maps)))
        maps = self.beside(maps) + maps
        return self.head(self.twice(self.twice(self.frozen(maps))).mean(dim=(2, 3)))


def test_what_cannot_be_decomposed_stays_as_it_is() -> None:
    model = decompose(Odd(), 2)
    layers = decomposed_layers(model)
    assert layers.keys() == {"added", "twice", "skipped"}
    assert isinstance(model.norm, nn.BatchNorm2d)  # reads a sum
    assert isinstance(model.beside, nn.BatchNorm2d)  # what it reads is also added to its outputs
    assert type(model.head) is nn.Linear
    assert model(torch.randn(2, 2, 4, 4)).shape == (2, 3)


# ---------------------------------------------------------------------- the server's rules


def test_the_shortest_mean_by_hand() -> None:
    weights = least_norm_weights(rows([1, 0], [0, 1], [0.5**0.5, 0.5**0.5]))
    assert weights.tolist() == pytest.approx([0.5, 0.5, 0.0])
    assert least_norm_weights(rows([3, 1])).tolist() == [1.0]
    opposed = rows([1, 0, 0], [-1, 0, 0], [0, 0, 1])
    assert (least_norm_weights(opposed) @ opposed).norm() == pytest.approx(0, abs=1e-9)
    # On the segment from (2, 0) to (0, 1), the point nearest to 0 is 4/5 (1/2, 1).
    assert least_norm_weights(rows([2, 0], [0, 1], [4, 4])).tolist() == pytest.approx([0.2, 0.8, 0])
    same = rows([1, 2], [1, 2])
    assert least_norm_weights(same) @ same == pytest.approx(rows([1, 2])[0])


@pytest.mark.parametrize(("clients", "width"), [(3, 2), (6, 3), (20, 8), (12, 40)])
def test_no_client_opposes_the_shortest_mean(clients: int, width: int) -> None:
    generator = torch.Generator().manual_seed(clients)
    vectors = torch.randn(clients, width, generator=generator, dtype=torch.float64)
    vectors[:, 0] += 1
    weights = least_norm_weights(vectors)
    shortest = weights @ vectors
    assert weights.min() >= 0
    assert weights.sum() == pytest.approx(1)
    assert (vectors @ shortest).min() >= shortest @ shortest - 1e-9


def test_a_step_by_hand() -> None:
    changes, half = rows([3, 0], [0, 1]), rows([0.5, 0.5])[0]
    assert agreed_step(changes, half).tolist() == pytest.approx([1, 1])
    assert agreed_step(changes, rows([0.75, 0.25])[0]).tolist() == pytest.approx([1.25, 1.25])
    # A change of length 0 has no direction, and its length counts.
    idle = agreed_step(rows([3, 0], [0, 0]), half)
    assert idle.tolist() == pytest.approx([1.5, 0])
    assert agreed_step(torch.zeros(2, 3), half).tolist() == [0, 0, 0]


def test_a_mixture_by_hand() -> None:
    sent = rows([1, 0], [0, 1], [0.5**0.5, 0.5**0.5])
    weights = [0.591015, 0.079985, 0.328999]
    assert mix(sent, 0.5)[0].tolist() == pytest.approx(
        [weights[0] + weights[2] * 0.5**0.5, weights[1] + weights[2] * 0.5**0.5], abs=1e-6
    )
    torch.testing.assert_close(mix(torch.zeros(3, 2), 0.5), torch.zeros(3, 2))


def served(weighting: str = "uniform") -> FDSE:
    model = decompose(nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2)), 2)
    parameters = FDSEParameters.model_validate({"weighting": weighting})
    strategy = FDSE(model, parameters)
    strategy.initialise({n: torch.zeros_like(t) for n, t in model.state_dict().items()})
    return strategy


def update_of(
    strategy: FDSE, client: int, bias: list[float], eraser: float, n: int
) -> ClientUpdate:
    model = {name: tensor.clone() for name, tensor in strategy.state["arrays"].items()}
    model["2.bias"] = torch.tensor(bias)
    model["0.norm.running_mean"] = torch.tensor(bias)
    own = {name: torch.full_like(t, eraser) for name, t in strategy.personal().items()}
    return ClientUpdate(client, {"arrays": model, "erasers": own}, {"num-examples": n})


@pytest.mark.parametrize(
    ("weighting", "step", "mean"), [("uniform", 1.0, [1.5, 0.5]), ("examples", 1.25, [2.25, 0.25])]
)
def test_shared_tensors_step_and_statistics_are_averaged(
    weighting: str, step: float, mean: list[float]
) -> None:
    strategy = served(weighting)
    sent = [([3.0, 0.0], 30), ([0.0, 1.0], 10), ([9.0, -9.0], 0)]
    updates = [update_of(strategy, k, bias, 1.0, n) for k, (bias, n) in enumerate(sent)]
    strategy.aggregate(1, updates)
    assert strategy.state["arrays"]["2.bias"].tolist() == pytest.approx([step, step])
    assert strategy.state["arrays"]["0.norm.running_mean"].tolist() == pytest.approx(mean)
    assert strategy.state["arrays"]["2.weight"].abs().max() == 0
    assert not strategy.has_global_model


def test_erasers_are_mixed_for_those_that_trained() -> None:
    strategy = served()
    first = strategy.sent_to(0)["erasers"]
    assert all(torch.equal(t, strategy.personal()[n]) for n, t in first.items())
    sent = [(0, 2.0), (2, -2.0)]
    strategy.aggregate(1, [update_of(strategy, k, [1.0, 0.0], own, 5) for k, own in sent])
    towards = math.tanh(1 / 0.5)  # weights softmax(1 / τ, -1 / τ) of 1 and -1
    for client, sign in ((0, 1), (2, -1)):
        for tensor in strategy.sent_to(client)["erasers"].values():
            torch.testing.assert_close(tensor, torch.full_like(tensor, sign * 2 * towards))
    for name, tensor in strategy.sent_to(1)["erasers"].items():
        assert torch.equal(tensor, first[name])


# ---------------------------------------------------------------------- the client trainer


def test_distances_by_hand() -> None:
    mean, variance = torch.tensor([1.0, 0.0]), torch.tensor([4.0, 1.0])
    to_mean, to_variance = torch.tensor([0.0, 0.0]), torch.tensor([1.0, 1.0])
    found = divergence(mean, variance, to_mean, to_variance).item()
    assert found == pytest.approx((math.log(4) + 2 / 4 - 1) / 2 / 2, abs=1e-4)
    found = squared_distance(mean, variance, to_mean, to_variance).item()
    assert found == pytest.approx(1 + 1, abs=1e-4)


def received(runtime: Runtime, server_round: int) -> Received:
    state = runtime.trainer.task.model.state_dict()
    down = {n: state[n].clone() for n in runtime.trainer.shared}
    for name, tensor in down.items():  # other statistics than batches have
        if name.endswith(("running_mean", "running_var")):
            tensor += 0.3
    names = runtime.trainer.erasers
    erasers = {n: state[n] + 0.1 for n in names}
    return Received({"arrays": down, "erasers": erasers}, {"server-round": server_round})


@pytest.mark.parametrize("distance", ["kl", "squared"])
@pytest.mark.usefixtures("double")
def test_a_step_is_that_written_out(distance: str) -> None:
    training = {"batch_size": "full", "optimizer": {"lr": 0.05}}
    runtime = runtime_of(strategy=METHOD | {"distance": distance}, model=CNN, training=training)
    model = copy.deepcopy(runtime.trainer.task.model).train()
    down = received(runtime, 2)
    update, metrics = runtime.train(0, down, {})
    model.load_state_dict({**down.model, **down.arrays["erasers"]}, strict=False)

    data = runtime.client_data(0)
    keys: dict[str, Any] = {"seed": runtime.scenario.seed, "client": 0, "server_round": 2}
    ((found,),) = plan_round(runtime.trainer, data, batch_size="full", **keys).phases
    inputs, labels = runtime.preprocess.inputs(data.inputs[found]), data.labels[found]
    terms = []
    maps = inputs
    for layer in model.children():
        if isinstance(layer, DecomposedLayer):
            first = layer.skew_norm(layer.extractor(maps))
            both = torch.cat([first, layer.eraser(first)], dim=1)[:, : layer.outputs]
            both = both + layer.bias[:, None, None]
            to_mean, to_var = layer.norm.running_mean.clone(), layer.norm.running_var + 1e-5
            mean, var = both.mean((0, 2, 3)), both.var((0, 2, 3), correction=0) + 1e-5
            if distance == "kl":
                normal, other = (
                    torch.distributions.Normal(*of)
                    for of in ((to_mean, to_var.sqrt()), (mean, var.sqrt()))
                )
                terms.append(torch.distributions.kl_divergence(normal, other).mean())
            else:
                deviations = (var.sqrt() - to_var.sqrt()) ** 2
                terms.append(((mean - to_mean) ** 2 + deviations).sum())
            maps = layer.norm(both)
        else:
            maps = layer(maps)
    weights = [math.exp(0.7 * depth) for depth in range(3)]
    term = sum(w * t for w, t in zip(weights, terms, strict=True)) / sum(weights)
    loss = functional.cross_entropy(maps, labels) + 0.3 * term
    loss.backward()
    torch.optim.SGD(model.parameters(), lr=0.05).step()
    assert metrics["loss"] == pytest.approx(loss.item())
    stays = update.client_state["model"]
    sent = {**stays, **update.arrays["arrays"], **update.arrays["erasers"]}
    torch.testing.assert_close(sent, dict(model.state_dict()), check_dtype=False)


@pytest.mark.slow
def test_the_first_round_has_no_term() -> None:
    losses = [
        runtime.train(0, received(runtime, 1), {})[1]["loss"]
        for runtime in (
            runtime_of(strategy=METHOD | {"lam": lam}, model=CNN, training={"batch_size": "full"})
            for lam in (0.0, 5.0)
        )
    ]
    assert losses[0] == losses[1]


def test_statistics_before_erasers_stay_at_home() -> None:
    runtime = runtime_of(strategy="fdse", model=CNN)
    update, _ = runtime.train(0, received(runtime, 1), {})
    sent = update.arrays["arrays"].keys() | update.arrays["erasers"].keys()
    stays = runtime.trainer.task.model.state_dict().keys() - sent
    assert {name.split(".")[1] for name in stays} == {"skew_norm"}
    assert {name.split(".")[2] for name in stays} == {
        *("running_mean", "running_var", "num_batches_tracked")
    }
    kept = update.client_state["model"]
    again, _ = runtime.train(0, received(runtime, 2), update.client_state)
    assert all((again.client_state["model"][n] != kept[n]).any() for n in stays)
    assert not runtime.trainer.supports_vmap


# ---------------------------------------------------------------------- a run


def test_a_run_is_the_rounds_written_out(tmp_path: Path) -> None:
    """Some clients a round: each is sent its own erasers, to train and to test."""
    chosen = toy.scenario(
        strategy="fdse",
        model=CNN,
        rounds=3,
        partition={"clients": 4},
        participation={"fraction": 0.5},
    )
    found: list[Strategy] = []
    cohorts: list[list[int]] = []

    class Watch(At):
        def on_round(self, strategy: Any, report: Any) -> None:
            found.append(strategy)
            rows = [row for row in report.rows if row.split == "train" and row.metric == "loss"]
            cohorts.append(sorted({row.client for row in rows}))

    run = simulate(chosen, out=tmp_path / "run", callbacks=[Watch(9, lambda: None)], progress=False)
    assert cohorts[0] != cohorts[1] or cohorts[1] != cohorts[2]
    prepared = prepare(chosen)
    runtime = Runtime(chosen, prepared.data, prepared.partition, torch.device("cpu"))
    strategy = build_strategy(chosen, prepared.model)
    strategy.initialise(dict(prepared.model.state_dict()))
    states: dict[int, Any] = {client: {} for client in range(4)}

    def down(client: int, server_round: int) -> Received:
        sent = strategy.broadcast(server_round) | strategy.sent_to(client)
        return Received(sent, {"server-round": server_round, "rounds": 3})

    for server_round, cohort in enumerate(cohorts, 1):
        updates = []
        for client in cohort:
            update, metrics = runtime.train(client, down(client, server_round), states[client])
            states[client] = update.client_state
            updates.append(ClientUpdate(client, update.arrays, metrics))
        strategy.aggregate(server_round, updates)
    for name, tensors in strategy.state.items():
        torch.testing.assert_close(found[-1].state[name], tensors)
    losses = run.history.query("split == 'test' and metric == 'loss' and round == 3")
    tested = losses[losses.client >= 0].set_index("client").value
    for client in range(4):
        ((score,), *_) = [runtime.evaluate(client, down(client, 3), states[client])]
        assert tested[client] == pytest.approx(score.loss, rel=1e-5)
    rows = run.history.query("split == 'round'").set_index(["round", "metric"]).value
    own = size([strategy.broadcast(1)["arrays"], strategy.sent_to(0)["erasers"]])
    assert rows[2, "bytes_up"] == 2 * own
    assert rows[2, "bytes_down"] == (2 + 4) * own  # to train, and to test
    with pytest.raises(InputError, match="no client has a model by itself"):
        run.model(client=0)


@pytest.mark.slow
def test_erasers_that_are_compressed_are_added_to_what_the_client_was_sent(tmp_path: Path) -> None:
    """Top-k of all is no compression, so that the method comes to the same state."""
    states: list[dict[str, Any]] = []

    class Watch(At):
        def on_end(self, strategy: Any) -> None:
            states.append(strategy.state)

    for name, updates in (
        ("plain", {}),
        ("packed", {"compression": {"name": "top_k", "share": 1}}),
    ):
        chosen = toy.scenario(strategy="fdse", model=CNN, rounds=2, updates=updates)
        watch = Watch(9, lambda: None)
        simulate(chosen, out=tmp_path / name, callbacks=[watch], progress=False)
    torch.testing.assert_close(*states, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("linear", "the model 'linear' has none"),
        ({"name": "small_cnn", "norm": "group"}, "'group' would stand behind it"),
        ({"name": "small_cnn", "freeze": ["0.*"]}, "model.freeze: fdse puts new layers"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(model: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        prepare(toy.scenario(strategy="fdse", model=model))
