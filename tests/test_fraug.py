"""FRAug: distances by hand, one round against a plain PyTorch loop, and what travels and stays."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, one_hot

from fedlab import rng
from fedlab.clients.base import Carry, Received
from fedlab.clients.families.class_prototypes import (
    empty_memory,
    mark_seen,
    moved_means,
    next_labels,
)
from fedlab.clients.families.doubt import negative_entropy, non_saturating
from fedlab.clients.families.wanted_classes import DRAWS, Wanted
from fedlab.clients.fraug import FRAug as LocalFRAug
from fedlab.engine.execution.runtime import Runtime
from fedlab.engine.execution.sequential import client_stats_of
from fedlab.errors import InputError
from fedlab.federation.client_updates import ClientUpdate
from fedlab.models.distances import l2, mean_cov, mmd
from fedlab.preparation import prepare
from fedlab.records import Tensors
from fedlab.scenario_file import load_scenario
from fedlab.server_app import build_strategy
from fedlab.simulation import resume, simulate
from fedlab.strategies.base import ServerSettings
from fedlab.strategies.fraug import FRAug, FRAugParameters
from fedlab.training.task import Batch
from helpers import toy
from helpers.cohorts import MODELS, assert_same, ragged, runtime_of
from helpers.running import At, on, result

MODEL = {"name": "small_cnn", "widths": [4, 8, 8]}
FEATURES, CLASSES = 8, 4


def fraug(model: dict[str, Any] = MODEL, training: dict | None = None, **method: Any) -> Runtime:
    training = {"batch_size": 16, "optimizer": {"lr": 0.05, "momentum": 0.5}} | (training or {})
    return runtime_of(strategy={"name": "fraug", **method}, model=model, training=training)


def broadcast(runtime: Runtime, server_round: int = 1, rounds: int = 4) -> Received:
    """What a server sends down at first."""
    strategy = build_strategy(runtime.scenario, runtime.trainer.task.model)
    strategy.initialise(dict(runtime.trainer.task.model.state_dict()))
    config = {"server-round": server_round, "rounds": rounds}
    return Received(strategy.broadcast(server_round), config)


def start(runtime: Runtime, **down: Any) -> tuple[LocalFRAug, Carry, Batch]:
    """A client's first carry and batch."""
    trainer = runtime.trainer
    assert isinstance(trainer, LocalFRAug)
    trainer.task.model.train()
    data = runtime.client_data(0)
    with rng.torch_seed(0, "dropout", 0, 1):
        carry = trainer.begin(broadcast(runtime, **down), {}, client_stats_of(trainer, data))
    rows = torch.arange(16)
    inputs = runtime.preprocess.inputs(data.inputs[rows])
    noise = trainer.draw(broadcast(runtime, **down), 16, torch.Generator().manual_seed(1))
    return trainer, carry, Batch(inputs, data.labels[rows], rows, noise=noise)


def gradients_of(trainer: LocalFRAug, carry: Carry, batch: Batch) -> Tensors:
    """Those of a step, which takes class means into the memory."""
    phase = trainer.phases()[0]
    prepared = trainer.before_step(carry, batch, phase)
    return trainer.gradients(carry, batch._replace(prepared=prepared), phase)[0]


def remember(memory: Tensors, features: torch.Tensor, labels: list[int]) -> None:
    """Adds a batch with weight 0.3."""
    kinds = one_hot(torch.tensor(labels), len(memory["seen"])).float()
    mark_seen(memory, torch.tensor(labels))
    memory["means"] = moved_means(memory["means"], features, kinds, 0.3)


@pytest.mark.parametrize("kind", ["uniform", "normal"])
def test_the_generators_noise_is_drawn_as_configured(kind: str) -> None:
    runtime = fraug(noise=kind)
    trainer, _, _ = start(runtime)
    noise = trainer.draw(broadcast(runtime), 4_000, torch.Generator().manual_seed(0))
    assert noise is not None
    assert noise.shape == (DRAWS, 4_000, FEATURES // 2)
    low, mean, deviation = {"uniform": (0, 0.5, 12**-0.5), "normal": (-9, 0, 1)}[kind]
    assert noise.min() >= low
    assert (noise.min() < -2) == (kind == "normal")
    assert float(noise.mean()) == pytest.approx(mean, abs=0.02)
    assert float(noise.std()) == pytest.approx(deviation, abs=0.02)


# ---------------------------------------------------------------------- distances


def test_mmd_by_hand() -> None:
    # Within a batch all distances are 0, across they are 1: their mean over 12 pairs is 2/3, and
    # the kernels' bandwidths are (2/3) / 4 * (1, 2, 4, 8, 16).
    across = sum(math.exp(-6 / 2**i) for i in range(5))
    found = mmd(torch.zeros(2, 1), torch.ones(2, 1))
    assert float(found) == pytest.approx(5 + 5 - 2 * across, rel=1e-6)


def test_mmd_and_its_gradient_are_those_of_its_definition() -> None:
    generator = torch.Generator().manual_seed(0)
    these = torch.randn(3, 2, generator=generator, dtype=torch.float64).requires_grad_()
    those = torch.randn(3, 2, generator=generator, dtype=torch.float64) * 2 + 1
    rows = [*these, *those]
    squares = [[(a - b).square().sum() for b in rows] for a in rows]
    base = sum(float(d.detach()) for line in squares for d in line) / (6 * 5) / 4
    kernel = [[sum(torch.exp(-d / (base * 2**i)) for i in range(5)) for d in r] for r in squares]
    pairs = [(i, j) for i in range(6) for j in range(6)]
    expected = sum(kernel[i][j] * (1 if (i < 3) == (j < 3) else -1) for i, j in pairs) / 9
    assert isinstance(expected, torch.Tensor)
    torch.testing.assert_close(mmd(these, those), expected)
    (grad,) = torch.autograd.grad(mmd(these, those), these)
    (wanted,) = torch.autograd.grad(expected, these)
    torch.testing.assert_close(grad, wanted)


def test_mmd_of_equal_batches_is_nothing() -> None:
    for value in (0.0, 1.1):
        same = torch.full((3, 2), value, requires_grad=True)
        (grad,) = torch.autograd.grad(mmd(same, torch.full((3, 2), value)), same)
        assert torch.equal(grad, torch.zeros(3, 2))
    rows = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    assert float(mmd(rows, rows)) == pytest.approx(0, abs=1e-5)


def test_mean_cov_and_l2_by_hand() -> None:
    these = torch.tensor([[0.0, 0.0], [2.0, 2.0]])  # mean (1, 1), covariance 2 everywhere
    those = torch.tensor([[1.0, 3.0], [1.0, 5.0]])  # mean (1, 4), covariance 2 for the second only
    assert float(mean_cov(these, those)) == pytest.approx((0 + 9) / 2 + (4 + 4 + 4 + 0) / 4)
    assert float(l2(these, those)) == pytest.approx((1 + 9 + 1 + 9) / 4)


# ---------------------------------------------------------------------- memory and schedule


def test_class_means_move_towards_those_of_the_batch() -> None:
    memory = empty_memory(3, 2, torch.zeros(()))
    remember(memory, torch.tensor([[1.0, 0.0], [3.0, 2.0], [5.0, 5.0]]), [0, 0, 2])
    torch.testing.assert_close(memory["means"], torch.tensor([[0.6, 0.3], [0.0, 0.0], [1.5, 1.5]]))
    remember(memory, torch.tensor([[1.0, 1.0]]), [0])
    torch.testing.assert_close(memory["means"][0], torch.tensor([0.7 * 0.6 + 0.3, 0.51]))
    assert memory["seen"].tolist() == [True, False, True]


def test_classes_never_seen_are_dealt_only_if_asked_for() -> None:
    memory = empty_memory(4, 2, torch.zeros(()))
    remember(memory, torch.ones(2, 2), [3, 1])
    assert next_labels(memory, 5, only_seen=True).tolist() == [1, 3, 1, 3, 1]
    memory["dealt"] += 5
    assert next_labels(memory, 3, only_seen=True).tolist() == [3, 1, 3]
    assert next_labels(memory, 6, only_seen=False).tolist() == [1, 2, 3, 0, 1, 2]


@pytest.mark.parametrize(
    ("method", "first", "last"),
    [
        ({}, math.exp(-3), math.exp(-0.01)),
        ({"gamma": 0.002}, math.exp(-0.6), math.exp(-0.002)),
        ({"schedule": "inverse", "gamma": 0.01}, 0, 1 - 1 / 3.99),
        ({"schedule": "constant"}, 0.5, 0.5),
    ],
)
def test_the_schedule(method: dict[str, Any], first: float, last: float) -> None:
    parameters = FRAugParameters(**method)
    assert parameters.ratio(1, 300) == pytest.approx(first)
    assert parameters.ratio(300, 300) == pytest.approx(last)


def test_synthetic_representations_weigh_half_at_most() -> None:
    for server_round, share in [(1, math.exp(-3)), (250, math.exp(-0.51)), (300, 0.5)]:
        _, carry, _ = start(fraug(gamma=0.01), server_round=server_round, rounds=300)
        weights = carry.extra["schedule"]["weights"].tolist()
        assert weights == pytest.approx([1 - min(share, 0.5), min(share, 0.5)])


# ---------------------------------------------------------------------- the three steps


def test_the_synthetic_loss_reaches_only_the_head() -> None:
    trainer, carry, batch = start(fraug(schedule="constant"))
    grads = gradients_of(trainer, carry, batch)
    state = {n: t.clone() for n, t in {**carry.parameters, **carry.buffers}.items()}
    model = copy.deepcopy(trainer.task.model).train()
    model.load_state_dict(state)
    cross_entropy(model(batch.inputs), batch.labels).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        same = torch.allclose(grads[name], parameter.grad / 2, rtol=1e-4, atol=1e-6)
        assert same == (name not in trainer.task.head.names), name


def test_entropy_rises_as_rtnet_learns_and_distance_holds_it_back() -> None:
    ends = []
    for weight in (0.0, 10.0):
        trainer, carry, batch = start(fraug(lambda_rtnet=weight, interpolate=False))
        gradients_of(trainer, carry, batch)  # class means
        with torch.no_grad():
            for name in trainer.task.head.names:  # a head that is sure of itself
                carry.parameters[name].mul_(8)
        features, _ = trainer.as_tested(carry, batch)
        memory = {name: tensor.clone() for name, tensor in carry.extra["memory"].items()}
        labels = torch.cat([batch.labels, batch.labels])
        means = torch.cat([memory["means"][batch.labels], features])
        heads, bodies = [], []
        for _ in range(40):
            kinds = one_hot(labels, CLASSES).float()
            wanted = Wanted(labels, kinds, torch.cat([torch.rand(32, FEATURES // 2), kinds], 1))
            alike = Wanted(*(tensor[16:] for tensor in wanted))
            made = trainer.synthesise(carry, alike, features)
            outputs = trainer.task.head.outputs(carry.parameters, made)
            heads.append(-float(negative_entropy(outputs)))
            bodies.append(float(l2(made, features)))
            trainer.teach_rtnet(carry, wanted, means)
        assert all(torch.equal(carry.extra["memory"][name], memory[name]) for name in memory)
        ends.append((heads, bodies))
    (free, far), (held, near) = ends
    assert sum(free[-5:]) > sum(free[:5]) + 0.5
    assert sum(held[-5:]) > sum(held[:5]) + 0.5
    assert sum(near[-5:]) < sum(far[-5:]) / 10


def test_entropy_by_hand() -> None:
    assert float(negative_entropy(torch.zeros(3, 4))) == pytest.approx(-math.log(4))
    outputs = torch.tensor([[math.log(3), 0.0]])
    expected = 0.75 * math.log(0.75) + 0.25 * math.log(0.25)
    assert float(negative_entropy(outputs)) == pytest.approx(expected)


def test_the_gradient_of_entropy_is_that_of_its_definition() -> None:
    outputs = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    outputs.requires_grad_()
    chances = outputs.softmax(dim=1)
    (wanted,) = torch.autograd.grad((chances * chances.log()).sum(dim=1).mean(), outputs)
    (grad,) = torch.autograd.grad(negative_entropy(outputs), outputs)
    torch.testing.assert_close(grad, wanted)


def test_the_non_saturating_criterion_by_hand() -> None:
    """p = (.75, .25), and the label 0 is smoothed to (.95, .05)."""
    outputs = torch.tensor([[math.log(3), 0.0]])
    found = non_saturating(outputs, torch.tensor([0]))
    assert float(found) == pytest.approx(-0.95 * math.log(0.25) - 0.05 * math.log(0.75))


def test_before_the_first_round_only_the_network_and_class_means_learn() -> None:
    runtime = fraug(first_round=2, schedule="constant")
    trainer, carry, batch = start(runtime)
    kept = {key: {n: t.clone() for n, t in carry.extra[key].items()} for key in carry.extra}
    model = copy.deepcopy(trainer.task.model).train()
    model.load_state_dict({**carry.parameters, **carry.buffers})
    cross_entropy(model(batch.inputs), batch.labels).backward()
    grads = gradients_of(trainer, carry, batch)
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        torch.testing.assert_close(grads[name], parameter.grad, rtol=1e-4, atol=1e-6)
    carry, _ = trainer.step(carry, batch, trainer.phases()[0], 1)
    for key in ("generator", "rtnet"):
        assert all(torch.equal(carry.extra[key][n], t) for n, t in kept[key].items())
    assert carry.extra["memory"]["seen"].all()
    _, later, _ = start(runtime, server_round=2)
    assert later.extra["schedule"]["weights"].tolist() == [0.5, 0.5]


class PlainGenerator(nn.Sequential):
    """An independent reading of the authors' generator."""

    def __init__(self, latent: int) -> None:
        wide = FEATURES
        first, second = nn.Linear(latent + CLASSES, wide), nn.Linear(wide, wide)
        norms = nn.BatchNorm1d(wide), nn.BatchNorm1d(wide)
        super().__init__(first, norms[0], nn.ReLU(), second, norms[1], nn.ReLU())

    def make(self, labels: torch.Tensor, latent: int) -> torch.Tensor:
        noise = torch.rand(len(labels), latent)
        return self(torch.cat([noise, one_hot(labels, CLASSES).float()], dim=1))


class PlainRTNet(nn.Sequential):
    """An independent reading of the authors' transformation network."""

    def __init__(self, latent: int) -> None:
        first, second = nn.Linear(FEATURES + CLASSES, latent), nn.Linear(latent, FEATURES)
        super().__init__(first, nn.BatchNorm1d(latent), nn.ReLU(), second, nn.BatchNorm1d(FEATURES))

    def move(self, made: torch.Tensor, labels: torch.Tensor, near: torch.Tensor) -> torch.Tensor:
        return near + self(torch.cat([made, one_hot(labels, CLASSES).float()], dim=1))


@pytest.mark.slow_except(
    "l2-entropy-True", "mean_cov-entropy-False", "mmd-entropy-False", "l2-non_saturating-False"
)
@pytest.mark.parametrize("interpolate", [False, True])
@pytest.mark.parametrize(
    ("distance", "criterion"),
    [("mmd", "entropy"), ("mean_cov", "entropy"), ("l2", "entropy"), ("l2", "non_saturating")],
)
def test_two_batches_are_those_of_a_plain_loop(
    distance: str, criterion: str, interpolate: bool
) -> None:
    method = {
        "generator_distance": distance,
        "rtnet_distance": distance,
        "gamma": 0.3,
        "lr_generator": 0.04,
        "criterion": criterion,
    }
    runtime = fraug(
        interpolate=interpolate, lr_rtnet=0.025, lambda_generator=0.7, lambda_rtnet=1.3, **method
    )
    trainer, carry, batch = start(runtime, server_round=2)
    latent, ratio = FEATURES // 2, math.exp(0.3 * (1 - 4))
    model = copy.deepcopy(trainer.task.model)
    body, head = nn.Sequential(*list(model.children())[:-1]), list(model.children())[-1]
    generator, rtnet = PlainGenerator(latent), PlainRTNet(latent)
    for plain, name in ((generator, "generator"), (rtnet, "rtnet")):
        values = {n.removeprefix("layers."): t.clone() for n, t in carry.extra[name].items()}
        plain.load_state_dict(values)
    learn = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.5)
    learn_generator = torch.optim.SGD(generator.parameters(), lr=0.04)
    learn_rtnet = torch.optim.SGD(rtnet.parameters(), lr=0.025)
    measure = {"mmd": mmd, "mean_cov": mean_cov, "l2": l2}[distance]
    means, real = torch.zeros(CLASSES, FEATURES), batch.labels

    def synthetic(labels: torch.Tensor, near: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            moved = rtnet.move(generator.make(labels, latent), labels, near)
            moved = ratio * moved + (1 - ratio) * near if interpolate else moved
        return cross_entropy(head(moved), labels)

    torch.manual_seed(1)
    loss = torch.zeros(())
    for batch_number in range(2):
        _ = generator.eval(), rtnet.eval(), model.train()
        wanted = (batch_number * len(real) + torch.arange(len(real))) % CLASSES
        features = body(batch.inputs)
        for label in range(CLASSES):
            found = features.detach()[real == label].mean(dim=0)
            means[label] = 0.7 * means[label] + 0.3 * found
        made_up = synthetic(wanted, means[wanted]) + synthetic(real, features.detach())
        loss = (1 - ratio) * cross_entropy(head(features), real) + ratio * made_up / 2
        learn.zero_grad()
        loss.backward()
        learn.step()

        _ = model.eval(), generator.train()
        with torch.no_grad():
            features = body(batch.inputs)
        made = generator.make(wanted, latent)
        away = measure(made, means[wanted] if distance == "l2" else features)
        learn_generator.zero_grad()
        (cross_entropy(head(made), wanted) - 0.7 * away).backward()
        learn_generator.step()

        _ = generator.eval(), rtnet.train()
        unsure, far = torch.zeros(()), torch.zeros(())
        with torch.no_grad():
            raw = [generator.make(labels, latent) for labels in (wanted, real)]
        for made, labels, near in ((raw[0], wanted, means[wanted]), (raw[1], real, features)):
            moved = rtnet.move(made, labels, near)
            chance = head(moved).softmax(dim=1)
            target = 0.9 * one_hot(labels, CLASSES) + 0.1 / CLASSES
            doubt = (
                -chance * chance.log() if criterion == "entropy" else target * (1 - chance).log()
            )
            unsure = unsure + doubt.sum(dim=1).mean() / 2
            far = far + measure(moved, near) / 2
        learn_rtnet.zero_grad()
        (-unsure + 1.3 * far).backward()
        learn_rtnet.step()

    draws, metrics = torch.Generator().manual_seed(1), {}
    for _ in range(2):
        fed = batch._replace(noise=trainer.draw(broadcast(runtime), 16, draws))
        carry, metrics = trainer.step(carry, fed, trainer.phases()[0], 2)
    close: dict[str, Any] = {"rtol": 1e-3, "atol": 1e-5}
    assert float(metrics["loss"]) == pytest.approx(loss.item(), rel=1e-4)
    torch.testing.assert_close(
        {**carry.parameters, **carry.buffers}, dict(model.state_dict()), **close
    )
    for plain, name in ((generator, "generator"), (rtnet, "rtnet")):
        ours = {n.removeprefix("layers."): t for n, t in carry.extra[name].items()}
        torch.testing.assert_close(ours, dict(plain.state_dict()), **close)
    torch.testing.assert_close(carry.extra["memory"]["means"], means, **close)


# ---------------------------------------------------------------------- what travels and stays


def test_the_uplink_is_the_network_without_statistics_and_the_generator() -> None:
    runtime = fraug()
    update, metrics = runtime.train(0, broadcast(runtime), {})
    model = runtime.trainer.task.model
    assert update.arrays["arrays"].keys() == {name for name, _ in model.named_parameters()}
    norms = 2 * (4 + 8 + 8)
    assert sum(t.nbytes for t in update.arrays["arrays"].values()) == 4 * (
        9 * (3 * 4 + 4 * 8 + 8 * 8) + norms + FEATURES * CLASSES + CLASSES
    )
    latent = FEATURES // 2
    dense = FEATURES * (latent + CLASSES + 1) + FEATURES * (FEATURES + 1)
    # Scale, shift, mean and variance of two layers, and their counters of eight bytes.
    assert (
        sum(t.nbytes for t in update.arrays["generator"].values())
        == 4 * (dense + 2 * 4 * FEATURES) + 2 * 8
    )
    assert update.arrays.keys() == {"arrays", "generator"}
    assert update.client_state.keys() == {"model", "rtnet", "memory"}
    statistics = {name for name, _ in model.named_buffers()}
    assert update.client_state["model"].keys() == statistics
    assert metrics["steps"] == 2


def test_the_generators_normalisation_can_stay() -> None:
    runtime = fraug(share_generator="without_norm")
    down = broadcast(runtime)
    update, _ = runtime.train(0, down, {})
    dense = {f"layers.{index}.{kind}" for index in (0, 3) for kind in ("weight", "bias")}
    assert down.arrays["generator"].keys() == update.arrays["generator"].keys() == dense
    own = update.client_state["generator"]
    assert {name.split(".")[1] for name in own} == {"1", "4"}
    again, _ = runtime.train(0, broadcast(runtime, server_round=2), update.client_state)
    assert int(again.client_state["generator"]["layers.1.num_batches_tracked"]) == 4


def test_what_came_down_and_what_was_kept_are_not_written_to() -> None:
    runtime = fraug()
    down = broadcast(runtime)
    update, _ = runtime.train(0, down, {})
    given = {**down.arrays, **update.client_state}
    before = copy.deepcopy(given)
    runtime.train(0, Received(down.arrays, {**down.config, "server-round": 2}), update.client_state)
    torch.testing.assert_close(given, before, rtol=0, atol=0)


def test_local_steps_count_batches_and_labels_go_on_where_they_stopped() -> None:
    runtime = fraug(training={"local_steps": 5, "batch_size": 5})
    update, metrics = runtime.train(0, broadcast(runtime), {})
    assert metrics["steps"] == 5
    assert int(update.client_state["memory"]["dealt"]) == 25
    again, _ = runtime.train(0, broadcast(runtime, server_round=2), update.client_state)
    assert int(again.client_state["memory"]["dealt"]) == 50


def test_every_client_has_an_rtnet_of_its_own_and_the_server_one_generator_per_seed() -> None:
    runtime = fraug(lr_rtnet=1e-9)
    state = torch.random.get_rng_state()
    down = broadcast(runtime)
    assert torch.equal(torch.random.get_rng_state(), state)
    kept = [runtime.train(client, down, {})[0].client_state["rtnet"] for client in (0, 1, 0)]
    first = "layers.0.weight"
    assert torch.equal(kept[0][first], kept[2][first])
    assert not torch.allclose(kept[0][first], kept[1][first])
    model = runtime.trainer.task.model
    drawn = []
    for seed in (0, 0, 1):
        server = FRAug(model, FRAugParameters(), ServerSettings(seed=seed))
        server.initialise(dict(model.state_dict()))
        drawn.append(server.state["generator"][first])
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_both_records_are_weighed_by_examples() -> None:
    server = FRAug(nn.Linear(1, 1))
    updates = [
        ClientUpdate(
            client,
            {"arrays": {"w": torch.tensor(value)}, "generator": {"g": torch.tensor(10 * value)}},
            {"num-examples": examples},
        )
        for client, (value, examples) in enumerate([(1.0, 3), (5.0, 1)])
    ]
    server.aggregate(1, updates)
    assert server.state == {"arrays": {"w": 2.0}, "generator": {"g": 20.0}}


@pytest.mark.slow_except("mean_cov-mlp")
@pytest.mark.parametrize("model", ["mlp", "cnn-batch"])
@pytest.mark.parametrize("distance", ["mmd", "mean_cov", "l2"])
@pytest.mark.usefixtures("double")
def test_together_is_one_by_one(model: str, distance: str) -> None:
    """Clients of 1 to 40 samples, some of whose classes are in no batch."""
    method = {"generator_distance": distance, "rtnet_distance": distance, "noise": "normal"}
    runtime = ragged(
        strategy={"name": "fraug", "share_generator": "without_norm", **method},
        model=MODELS[model],
        training={"batch_size": 8, "optimizer": {"lr": 0.02}},
    )
    assert runtime.trainer.supports_vmap
    clients = list(range(len(runtime.partition)))
    states: list[list[Any]] = [[{} for _ in clients], [{} for _ in clients]]
    for server_round in (1, 2):
        down = broadcast(runtime, server_round, rounds=2)
        for records in down.arrays.values():
            records |= {n: t.double() for n, t in records.items() if t.is_floating_point()}
        alone = [runtime.train(k, down, states[0][k]) for k in clients]
        together = runtime.train_many(clients, down, states[1])
        states = [[update.client_state for update, _ in each] for each in (alone, together)]
        assert_same(alone, together, 1e-9)


def test_a_batch_of_one_sample_changes_nothing() -> None:
    """The client has a single sample, which the generator could not normalise."""
    for model in (MODEL, {"name": "mlp", "hidden": [6]}):
        runtime = ragged(strategy="fraug", model=model, training={"batch_size": 8})
        down = broadcast(runtime)
        update, metrics = runtime.train(2, down, {})
        assert math.isfinite(metrics["loss"])
        torch.testing.assert_close(update.arrays, dict(down.arrays), rtol=0, atol=0)


# ---------------------------------------------------------------------- whole runs


def run_of(**changes: Any) -> Any:
    strategy = {"name": "fraug", "share_generator": "without_norm", "gamma": 0.5}
    return toy.scenario(**{"strategy": strategy, "model": MODEL} | changes)


@pytest.mark.slow  # test_control_variates has a method on Ray whose clients keep tensors
def test_ray_and_this_process_give_the_same_bytes(tmp_path: Path, ray_here: None) -> None:
    for backend in ("local", "ray"):
        simulate(run_of(resources=on(backend)), out=tmp_path / backend, progress=False)
    assert result(tmp_path / "local") == result(tmp_path / "ray")


@pytest.mark.slow  # test_engine interrupts every method; this is with its own parameters
@pytest.mark.parametrize("shared", ["all", "without_norm"])
def test_an_interrupted_run_ends_like_an_uninterrupted_one(shared: str, tmp_path: Path) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    strategy = {"name": "fraug", "share_generator": shared, "noise": "normal"}
    chosen = run_of(strategy=strategy, rounds=4, participation={"fraction": 0.67})
    simulate(chosen, out=tmp_path / "whole", progress=False)
    watch = [At(2, interrupt)]
    with pytest.raises(KeyboardInterrupt):
        simulate(chosen, out=tmp_path / "cut", callbacks=watch, progress=False)
    assert resume(tmp_path / "cut", progress=False).finished
    assert result(tmp_path / "whole") == result(tmp_path / "cut")
    ends = [(tmp_path / run / "checkpoints" / "round-000004") for run in ("whole", "cut")]
    server = [(end / "server.safetensors").read_bytes() for end in ends]
    assert server[0] == server[1]


@pytest.mark.parametrize("model", [{"name": "mlp"}, MODEL | {"norm": "group"}, {"name": "linear"}])
def test_networks_without_running_statistics_have_a_global_model(model: dict) -> None:
    runtime = fraug(model=model)
    assert build_strategy(runtime.scenario, runtime.trainer.task.model).has_global_model
    update, metrics = runtime.train(0, broadcast(runtime), {})
    assert update.client_state.keys() == {"rtnet", "memory"}
    assert math.isfinite(metrics["loss"])


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(
        InputError, match=r"training.batch_size: fraug's generator .* use 2 or more"
    ):
        prepare(run_of(training={"batch_size": 1}))
    with pytest.raises(InputError, match=r"dense layer .torch.nn.Linear.; let its outputs"):
        FRAugParameters().check(run_of(), nn.Conv2d(3, 4, 3))
    with pytest.raises(ValueError, match="memory_rate"):
        FRAugParameters(memory_rate=1.5)
    with pytest.raises(InputError, match=r"strategy\.first_round: 3 of 2 rounds"):
        FRAugParameters(first_round=3).check(toy.scenario(), nn.Linear(3, 4))


def test_the_scenario_for_digits_has_the_authors_settings() -> None:
    digits, usual = load_scenario("fraug_digits"), load_scenario("fraug_small_domains")
    assert digits.strategy == FRAugParameters(
        gamma=0.02,  # the authors' 0.002 in 300 rounds, for 30
        interpolate=False,
        generator_distance="l2",
        lambda_generator=1.0,
        rtnet_distance="mmd",
        lambda_rtnet=1.0,
    )
    same = {"name": "one", "strategy": "fraug"}
    assert digits.model_copy(update=same) == usual.model_copy(update=same)
