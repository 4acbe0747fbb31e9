"""q-FedAvg and AFL: clients count by their losses."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy
from torch.nn.utils.parametrizations import spectral_norm

from fedlab.clients.base import Carry, Received
from fedlab.clients.families.received_loss import ReceivedLoss
from fedlab.errors import InputError
from fedlab.federation.client_updates import ClientUpdate
from fedlab.preparation import prepare
from fedlab.strategies.afl import AFL, AFLParameters, onto_simplex
from fedlab.strategies.qfedavg import QFedAvg, QFedAvgParameters
from helpers import toy
from helpers.cohorts import assert_same, both, ragged, received, runtime_of
from helpers.method_rounds import NORMALISED
from helpers.quadratic import CLIENTS, ZERO, Bed, samples

METHODS = ["qfedavg", "afl"]


def one_weight() -> nn.Module:
    """x ↦ w x with w = 1."""
    model = nn.Linear(1, 1, bias=False, dtype=torch.float64)
    nn.init.ones_(model.weight)
    return model


def sent(number: int, **records: Any) -> ClientUpdate:
    tensors = {name: {k: torch.tensor(v) for k, v in r.items()} for name, r in records.items()}
    return ClientUpdate(number, tensors, {"num-examples": 4})


# ---------------------------------------------------------------------- q-FedAvg


@pytest.mark.parametrize(("q", "expected"), [(1.0, 0.857143), (0.0, 0.85)])
def test_a_round_of_q_fedavg_by_hand(q: float, expected: float) -> None:
    """η = 0.1, w = 1, θ = (0.9, 0.8), F = (1, 2): w - 5/35 with q = 1, the mean with q = 0."""
    training = {"optimizer": {"lr": 0.1}}
    trainer = runtime_of(strategy={"name": "qfedavg", "q": q}, training=training).trainer
    name = next(iter(trainer.shared))
    down = {n: torch.zeros_like(t) for n, t in trainer.task.model.state_dict().items()}
    down[name].view(-1)[0] = 1.0
    updates = []
    for client, (theta, loss) in enumerate([(0.9, 1.0), (0.8, 2.0)]):
        parameters = {n: t.clone() for n, t in down.items()}
        parameters[name].view(-1)[0] = theta
        measured = {"sum": torch.tensor(4 * loss).double(), "count": torch.tensor(4.0).double()}
        carry = Carry(parameters, {}, {}, {"received loss": measured})
        update = trainer.finish(carry, Received({"arrays": down}), 3)
        updates.append(ClientUpdate(client, update.arrays, {"num-examples": 4}))
    strategy = QFedAvg(trainer.task.model, QFedAvgParameters(q=q))
    strategy.initialise(down)
    strategy.aggregate(1, updates)
    assert strategy.state["arrays"][name].view(-1)[0].item() == pytest.approx(expected, abs=1e-6)


def losses_at(x: torch.Tensor) -> torch.Tensor:
    """F of every client of the test-bed."""
    each = [samples(client) for client in range(CLIENTS)]
    return torch.stack([(d.inputs @ x - d.labels).square().mean() / 2 for d in each])


def gradient(client: int, x: torch.Tensor) -> torch.Tensor:
    data = samples(client)
    return data.inputs.T @ (data.inputs @ x - data.labels) / len(data.labels)


def locally(client: int, x: torch.Tensor, lr: float, steps: int) -> torch.Tensor:
    for _ in range(steps):
        x = x - lr * gradient(client, x)
    return x


@pytest.mark.parametrize("q", [0.0, 0.5, 2.0])
def test_q_fedavg_is_that_written_out(q: float) -> None:
    lr, decay, x = 0.1, 0.9, ZERO
    bed = Bed({"name": "qfedavg", "q": q}, lr=lr, lr_decay=decay)
    for number in range(4):
        rate = lr * decay**number
        fs, ends = losses_at(x), [locally(c, x, rate, 3) for c in range(CLIENTS)]
        deltas = [(x - end) / rate for end in ends]
        scale = sum(
            q * f ** (q - 1) * d.square().sum() + f**q / rate
            for f, d in zip(fs, deltas, strict=True)
        )
        x = x - sum(f**q * d for f, d in zip(fs, deltas, strict=True)) / scale
    torch.testing.assert_close(bed.run(4), x, rtol=1e-7, atol=1e-7)


def test_the_larger_q_the_more_equal_the_losses() -> None:
    def spread(q: float) -> float:
        bed = Bed({"name": "qfedavg", "q": q}, lr=0.2, steps=(1, 1, 1))
        return float(losses_at(bed.run(20)).std())

    assert spread(0) > 1.2 * spread(1) > 1.2 * spread(5)


def test_with_q_zero_it_is_fedavg_by_either_weighting() -> None:
    for weighting in ("uniform", "examples"):
        blocks = [{"name": "fedavg"}, {"name": "qfedavg", "q": 0}]
        beds = [Bed(b | {"weighting": weighting}, copies=(1, 2, 5), lr=0.1) for b in blocks]
        torch.testing.assert_close(beds[0].run(3), beds[1].run(3))


# ---------------------------------------------------------------------- AFL


@pytest.mark.parametrize(
    ("values", "total", "expected"),
    [
        ([0.6, 0.7], 1.0, [0.45, 0.55]),
        ([0.5, 0.5], 1.0, [0.5, 0.5]),
        ([2.0, 0.1, 0.0], 1.0, [1.0, 0.0, 0.0]),
        ([0.4, 0.9, -1.0], 1.0, [0.25, 0.75, 0.0]),
        ([0.6, 0.7], 0.5, [0.2, 0.3]),
    ],
)
def test_the_projection_by_hand(values: list[float], total: float, expected: list[float]) -> None:
    found = onto_simplex(torch.tensor(values, dtype=torch.float64), total)
    assert found.tolist() == pytest.approx(expected)


@pytest.mark.parametrize(("output", "second"), [("last", 2.45), ("mean", 2.225)])
def test_two_rounds_of_afl_by_hand(output: Any, second: float) -> None:
    strategy = AFL(one_weight(), AFLParameters(gamma=0.1, output=output))
    strategy.initialise({"weight": torch.ones(1, 1, dtype=torch.float64)})
    strategy.population = 2

    def replies(*thetas: float) -> list[ClientUpdate]:
        return [
            sent(number, arrays={"weight": [[theta]]}, received={"loss": float(number + 1)})
            for number, theta in enumerate(thetas)
        ]

    strategy.aggregate(1, replies(1.0, 3.0))  # λ = (0.5, 0.5)
    assert strategy.broadcast(2)["arrays"]["weight"].item() == pytest.approx(2.0)
    assert list(strategy.mixture().values()) == pytest.approx([0.45, 0.55])
    assert strategy.round_metrics(1) == {"largest_weight": pytest.approx(0.55)}
    strategy.aggregate(2, replies(4.0, 13 / 11))  # 0.45 * 4 + 0.55 * 13/11 = 2.45
    assert strategy.broadcast(3)["arrays"]["weight"].item() == pytest.approx(2.45)
    assert strategy.state["arrays"]["weight"].item() == pytest.approx(second)
    assert list(strategy.mixture().values()) == pytest.approx([0.4, 0.6])


def test_a_client_that_a_round_misses_keeps_its_weight() -> None:
    strategy = AFL(one_weight(), AFLParameters(gamma=0.1))
    strategy.initialise({"weight": torch.ones(1, 1, dtype=torch.float64)})
    strategy.population = 4
    replies = [
        sent(number, arrays={"weight": [[1.0]]}, received={"loss": loss})
        for number, loss in [(0, 1.0), (2, 2.0), (3, 2.0)]
    ]
    strategy.aggregate(1, replies)
    found = strategy.mixture()
    assert list(found) == [0, 2, 3]
    assert sum(found.values()) == pytest.approx(0.75)  # a quarter is client 1's, who said nothing
    assert found[2] == found[3] > found[0]


def test_spectral_norms_of_iterate_and_mean_are_those_of_their_own_weights() -> None:
    """Weights by hand: diag(2, 3), then diag(6, 1) of one client; their mean is diag(4, 2)."""
    network = spectral_norm(nn.Linear(2, 2, bias=False, dtype=torch.float64))
    strategy = AFL(network, AFLParameters())
    strategy.initialise({n: t.detach().clone() for n, t in network.state_dict().items()})
    strategy.population = 2
    weight, left, right = strategy.state["arrays"]

    def reply(number: int, diagonal: list[float], largest: int) -> ClientUpdate:
        axis = [float(place == largest) for place in range(2)]
        matrix = torch.diag(torch.tensor(diagonal)).tolist()
        arrays = {weight: matrix, left: axis, right: axis}
        return sent(number, arrays=arrays, received={"loss": 1.0})

    def used(record: str) -> torch.Tensor:
        state = {name: tensor.double() for name, tensor in strategy.state[record].items()}
        eye = torch.eye(2, dtype=torch.float64)
        return functional_call(network.eval(), state, (eye,)).detach()

    def diagonal(*values: float) -> torch.Tensor:
        return torch.diag(torch.tensor(values, dtype=torch.float64))

    updates = [reply(0, [3.0, 1.0], 0), reply(1, [1.0, 5.0], 1)]
    strategy.aggregate(1, updates)
    strategy.settle(updates)
    torch.testing.assert_close(used("iterate"), diagonal(2 / 3, 1))
    torch.testing.assert_close(used("arrays"), diagonal(2 / 3, 1))
    updates = [reply(0, [6.0, 1.0], 0)]
    strategy.aggregate(2, updates)
    strategy.settle(updates)
    torch.testing.assert_close(used("iterate"), diagonal(1, 1 / 6))
    torch.testing.assert_close(used("arrays"), diagonal(1, 1 / 2))


def test_afl_is_that_written_out_and_ends_at_the_worst_mixture() -> None:
    lr, gamma, x = 0.2, 0.02, ZERO
    weights, iterates = torch.full((CLIENTS,), 1 / CLIENTS, dtype=torch.float64), []
    for _ in range(60):
        fs = losses_at(x)
        x = x - lr * sum(w * gradient(c, x) for c, w in enumerate(weights))
        weights = onto_simplex(weights + gamma * fs)
        iterates.append(x)
    one_step = {"lr": lr, "steps": (1, 1, 1)}
    found = Bed({"name": "afl", "gamma": gamma}, **one_step).run(10)
    torch.testing.assert_close(found, torch.stack(iterates[:10]).mean(dim=0), rtol=1e-7, atol=1e-7)
    last = Bed({"name": "afl", "gamma": gamma, "output": "last"}, **one_step).run(60)
    torch.testing.assert_close(last, x, rtol=1e-7, atol=1e-7)
    # At the least worst loss all clients have the same one here; FedAvg's are 3.14, 2.73 and 1.50.
    assert losses_at(last).max() - losses_at(last).min() < 0.01
    assert losses_at(last).max() < 2.6


# ---------------------------------------------------------------------- both


@pytest.mark.slow_except("afl")
@pytest.mark.parametrize("method", METHODS)
def test_the_loss_is_that_of_the_model_as_it_came_down(method: str) -> None:
    training = {"batch_size": 16, "optimizer": {"lr": 0.1}, "local_epochs": 2}
    runtime = runtime_of(strategy=method, model=NORMALISED, training=training)
    assert isinstance(runtime.trainer, ReceivedLoss)
    data = runtime.client_data(0)
    model = copy.deepcopy(runtime.trainer.task.model).eval()
    with torch.no_grad():
        loss = cross_entropy(model(runtime.preprocess.inputs(data.inputs)), data.labels)
    update, metrics = runtime.train(0, received(runtime), {})
    if method == "afl":
        found = update.arrays["received"]["loss"].item()
    else:  # h = ‖Δ‖² + L F with q = 1, and Δ F is what is sent
        change = update.arrays["change"].values()
        h = update.arrays["scale"]["h"].item()
        square = sum(float(each.double().square().sum()) for each in change)
        assert square / loss.item() ** 2 + 10 * loss.item() == pytest.approx(h, rel=1e-4)
        found = loss.item()
    assert found == pytest.approx(loss.item(), rel=1e-5)
    assert metrics["steps"] == 4  # the pass that measures takes none
    assert metrics["num-examples"] == len(data.labels)
    trained = runtime_of(strategy="fedavg", model=NORMALISED, training=training)
    plain = trained.train(0, received(trained), {})[0].arrays["arrays"]
    statistics = {name for name in plain if "running" in name or "num_batches" in name}
    ours = update.arrays["untrained" if method == "qfedavg" else "arrays"]
    assert {n: ours[n].tolist() for n in statistics if "num" in n} == {
        n: plain[n].tolist() for n in statistics if "num" in n
    }  # the pass in which nothing learns has no effect on statistics


@pytest.mark.slow_except("afl")
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.usefixtures("double")
def test_together_is_one_by_one(method: str) -> None:
    training = {"batch_size": 8, "optimizer": {"lr": 0.01, "momentum": 0.9}}
    runtime = ragged(strategy=method, model=NORMALISED, training=training)
    assert runtime.trainer.supports_vmap
    alone, together = both(runtime)
    assert_same(alone, together, 1e-9)
    nothing = [update for update, metrics in alone if metrics["num-examples"] == 0]
    assert nothing  # a client without labels
    if method == "qfedavg":
        assert nothing[0].arrays["scale"]["h"] == 0


def test_adaptive_clients_of_q_fedavg_are_refused() -> None:
    with pytest.raises(InputError, match="qfedavg takes the clients' learning rate"):
        prepare(toy.scenario(strategy="qfedavg", training={"optimizer": {"name": "adam"}}))


@pytest.mark.parametrize("fraction", [1.0, 0.67])
def test_afl_logs_that_it_wants_all_clients(
    fraction: float, caplog: pytest.LogCaptureFixture
) -> None:
    prepare(toy.scenario(strategy="afl", participation={"fraction": fraction}))
    assert ("afl compares the losses of all clients" in caplog.text) == (fraction < 1)


def test_parameters_have_ranges() -> None:
    for block in ({"name": "qfedavg", "q": -1}, {"name": "afl", "gamma": 0}):
        with pytest.raises(ValueError, match="greater than"):
            toy.scenario(strategy=block)
    with pytest.raises(ValueError, match="weighting"):
        toy.scenario(strategy={"name": "afl", "weighting": "examples"})
