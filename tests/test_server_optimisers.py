"""FedNova, FedAvgM, FedAdam, FedYogi and FedAdagrad: what the server makes of a mean change."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from fedlab.clients.fednova import coefficient_sum
from fedlab.config import registry
from fedlab.errors import InputError
from fedlab.federation.client_updates import ClientUpdate
from fedlab.preparation import prepare
from fedlab.strategies.base import Strategy
from fedlab.strategies.fedavg import FedAvg
from fedlab.strategies.fednova import FedNova
from fedlab.training.optimizer import Optimizer
from fedlab.training.spec import OptimizerSpec
from helpers import toy
from helpers.cohorts import ragged, runtime_of
from helpers.echo import Echo, Net, run
from helpers.method_rounds import NORMALISED, assert_resumes, play, scenario, size
from helpers.quadratic import SIZE, ZERO, Bed, error, optimum, samples, system

OPTIMISERS = ["fedavgm", "fedadam", "fedyogi", "fedadagrad"]


def server(name: str, **parameters: Any) -> Strategy:
    trainer: type[Strategy] = registry.resolve("strategies", name)
    return trainer(Net(), trainer.Parameters(name=name, **parameters))


# ---------------------------------------------------------------------- FedNova


def fixed_point(method: str, lr: float, **options: Any) -> torch.Tensor:
    """Where rounds end, exactly: on quadratics a round of a method without memory is affine."""

    def after_a_round(start: torch.Tensor) -> torch.Tensor:
        return Bed({"name": method}, steps=(1, 4, 10), start=start, lr=lr, **options).run(1)

    shift = after_a_round(ZERO)
    unit = torch.eye(SIZE, dtype=torch.float64)
    map_ = torch.stack([after_a_round(axis) - shift for axis in unit], dim=1)
    return torch.linalg.solve(unit - map_, shift)


@pytest.mark.parametrize(
    "momentum",
    [{}, {"momentum": 0.5}, {"momentum": 0.5, "nesterov": True}],
    ids=["plain", "momentum", "nesterov"],
)
def test_fednovas_error_falls_with_the_learning_rate_and_fedavgs_stays(momentum: dict) -> None:
    def miss(method: str, lr: float) -> float:
        return float((fixed_point(method, lr, **momentum) - optimum()).norm())

    nova = [miss("fednova", lr) for lr in (1e-2, 1e-3, 1e-4)]
    assert nova[0] / nova[1] == pytest.approx(10, rel=0.15)
    assert nova[1] / nova[2] == pytest.approx(10, rel=0.02)
    assert nova[2] < 1e-3
    average = [miss("fedavg", lr) for lr in (1e-2, 1e-4)]
    assert average[1] > 0.5
    assert average[1] == pytest.approx(average[0], rel=0.1)


@pytest.mark.parametrize("optimizer", [{}, {"momentum": 0.9}])
def test_fednova_is_fedavg_where_all_take_as_many_steps(optimizer: dict) -> None:
    nova, average = (
        Bed({"name": name}, copies=(1, 2, 5), lr=0.05, **optimizer).run(5)
        for name in ("fednova", "fedavg")
    )
    torch.testing.assert_close(nova, average, rtol=1e-13, atol=1e-13)


def test_coefficient_sums_by_hand() -> None:
    assert coefficient_sum(0, 0.9) == 0
    assert coefficient_sum(7, 0.0) == coefficient_sum(7, 0.0, nesterov=True) == 7
    assert coefficient_sum(3, 0.9) == pytest.approx(1 + 1.9 + 2.71)
    assert coefficient_sum(3, 0.9, nesterov=True) == pytest.approx(3 + 0.9 * 5.61)
    assert coefficient_sum(3, 0.0, pull=0.1) == pytest.approx(1 + 0.9 + 0.81)


@pytest.mark.parametrize("pull", [0.0, 0.2])
@pytest.mark.parametrize("nesterov", [False, True])
def test_coefficient_sums_are_how_far_equal_gradients_go(nesterov: bool, pull: float) -> None:
    optimizer = Optimizer(OptimizerSpec(lr=1.0, momentum=0.8, nesterov=nesterov))
    place = {"x": torch.zeros((), dtype=torch.float64)}
    slots = optimizer.start(place)
    for steps in range(1, 12):
        # A slope of -1, and that of a proximal term around 0.
        slope = torch.tensor(-1.0, dtype=torch.float64) + pull * place["x"]
        optimizer.apply(place, {"x": slope}, slots, 1.0)
        expected = coefficient_sum(steps, 0.8, nesterov=nesterov, pull=pull)
        assert place["x"].item() == pytest.approx(expected, rel=1e-13)


def test_fednova_with_a_proximal_term_and_momentum_is_that_written_out() -> None:
    lr, mu, beta, steps = 0.1, 0.5, 0.6, (1, 3, 6)
    x, velocity = ZERO, ZERO
    for _ in range(4):
        directions, totals = [], []
        for client, count in enumerate(steps):
            a, b = system(samples(client))
            y = x
            for _ in range(count):
                y = y - lr * (a @ y - b + mu * (y - x))
            totals.append((1 - (1 - lr * mu) ** count) / (lr * mu))
            directions.append((x - y) / totals[-1])
        velocity = beta * velocity + sum(totals) / 3 * sum(directions) / 3
        x = x - velocity
    method = {"name": "fednova", "mu": mu, "server_momentum": beta, "weighting": "uniform"}
    torch.testing.assert_close(Bed(method, lr=lr, steps=steps).run(4), x, rtol=1e-7, atol=1e-7)


@pytest.mark.usefixtures("double")
def test_fednova_with_a_proximal_term_together_is_one_by_one() -> None:
    training = {"batch_size": 8, "optimizer": {"lr": 0.05, "momentum": 0.9}}
    block = {"name": "fednova", "mu": 0.3, "server_momentum": 0.5}
    play(ragged(strategy=block, model=NORMALISED, training=training), 2, 1e-9)


def test_a_proximal_term_that_overshoots_is_refused() -> None:
    with pytest.raises(InputError, match=r"strategy\.mu: 30 with training\.optimizer\.lr=0\.05"):
        prepare(toy.scenario(strategy={"name": "fednova", "mu": 30}))


def test_fednova_by_hand() -> None:
    def update(client: int, direction: float, total: float, examples: int) -> ClientUpdate:
        trained, untrained = dict(Net().named_parameters()), dict(Net().named_buffers())
        arrays = {
            "direction": {n: torch.full_like(t, direction) for n, t in trained.items()},
            "coefficients": {"sum": torch.tensor(total, dtype=torch.float64)},
            "untrained": {n: torch.full_like(t, client) for n, t in untrained.items()},
        }
        return ClientUpdate(client, arrays, {"num-examples": examples})

    strategy = FedNova(Net())
    strategy.initialise({n: torch.ones_like(t) for n, t in Net().state_dict().items()})
    strategy.aggregate(1, [update(0, 0.5, 2.0, 1), update(4, 0.25, 6.0, 3)])
    state = strategy.state["arrays"]
    assert list(state) == list(Net().state_dict())
    # 1 - (¼ · 2 + ¾ · 6) · (¼ · ½ + ¾ · ¼)
    assert state["dense.weight"].item() == 1 - 5 * 0.3125
    assert state["norm.running_mean"].item() == 3.0
    assert state["norm.num_batches_tracked"].item() == 4


@pytest.mark.usefixtures("double")
def test_fednova_together_is_one_by_one_also_for_clients_that_take_no_step() -> None:
    optimizer = {"lr": 0.05, "momentum": 0.9}
    training = {"batch_size": 8, "optimizer": optimizer}
    updates = play(ragged(strategy="fednova", model=NORMALISED, training=training), 2, 1e-9)
    sums = [float(sent.arrays["coefficients"]["sum"]) for sent in updates]
    assert sums == [coefficient_sum(int(sent.metrics["steps"]), 0.9) for sent in updates]
    assert min(sums) == 0


def test_what_fednova_sends() -> None:
    runtime = runtime_of(strategy="fednova", model=NORMALISED)
    (first, *_) = play(runtime, 1)
    model = size([dict(runtime.trainer.task.model.state_dict())])
    assert size([dict(record) for record in first.arrays.values()]) == model + 8


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_fednova_refuses_adaptive_clients(optimizer: str) -> None:
    with pytest.raises(InputError, match=r"training.optimizer.name: .*use training.optimizer.name"):
        prepare(scenario("fednova", training={"optimizer": {"name": optimizer}}))


# ---------------------------------------------------------------------- server optimisers


@pytest.mark.slow_except("fedavgm", "fedadagrad")
@pytest.mark.parametrize(
    "method",
    [
        {"name": "fedavgm", "momentum": 0.5},
        {"name": "fedadam", "beta_1": 0.5, "server_lr": 1.0, "tau": 0.1},
        {"name": "fedyogi", "beta_1": 0.5, "server_lr": 1.0, "tau": 0.1},
        {"name": "fedadagrad", "server_lr": 1.0, "tau": 0.1},
    ],
    ids=OPTIMISERS,
)
def test_the_optimum_is_reached(method: dict) -> None:
    assert error(Bed(method, steps=(1, 1, 1), lr=0.4), 100) < 1e-10


DELTA = 1.75  # what Echo([1, 4], [3, 1]) moves every tensor by, on average


def momentum(rounds: int) -> float:
    w = v = 0.0
    for _ in range(rounds):
        v = 0.9 * v + DELTA
        w += 0.5 * v
    return w


def adaptive(rounds: int, beta_1: float, square: Callable[[float], float]) -> float:
    w, m, v = 0.0, 0.0, 0.01**2
    for _ in range(rounds):
        m = beta_1 * m + (1 - beta_1) * DELTA
        v = square(v)
        w += 0.5 * m / (sqrt(v) + 0.01)
    return w


def adam(rounds: int) -> float:
    return adaptive(rounds, 0.9, lambda v: 0.99 * v + 0.01 * DELTA**2)


def yogi(rounds: int) -> float:
    return adaptive(rounds, 0.9, lambda v: v - 0.01 * DELTA**2 * ((v > DELTA**2) - (v < DELTA**2)))


def adagrad(rounds: int) -> float:
    return adaptive(rounds, 0.0, lambda v: v + DELTA**2)


@pytest.mark.parametrize("rounds", [1, 4])
@pytest.mark.parametrize(
    ("name", "parameters", "formula"),
    [
        ("fedavgm", {"momentum": 0.9}, momentum),
        ("fedadam", {"tau": 0.01}, adam),
        ("fedyogi", {"tau": 0.01}, yogi),
        ("fedadagrad", {"tau": 0.01}, adagrad),
    ],
    ids=OPTIMISERS,
)
def test_trained_tensors_follow_the_formula_and_the_others_are_averaged(
    name: str, parameters: dict, formula: Callable[[int], float], rounds: int
) -> None:
    strategy = server(name, server_lr=0.5, **parameters)
    final = run(strategy, Echo([1.0, 4.0], [3, 1]), rounds)
    for trained in ("dense.weight", "dense.bias", "norm.weight", "norm.bias"):
        assert final[trained].item() == pytest.approx(formula(rounds), rel=1e-5)
    assert final["norm.running_mean"].item() == pytest.approx(rounds * DELTA)
    assert final["norm.running_var"].item() == pytest.approx(rounds * DELTA)
    assert final["norm.num_batches_tracked"].item() == rounds * 4
    assert final["norm.num_batches_tracked"].dtype is torch.int64


def test_yogi_comes_down_where_the_change_gets_small() -> None:
    yogi = server("fedyogi", tau=2.0, beta_2=0.9)
    yogi.initialise({n: torch.zeros_like(t) for n, t in Net().state_dict().items()})
    model = {n: torch.full_like(t, 1.0) for n, t in Net().state_dict().items()}
    yogi.aggregate(1, [ClientUpdate(0, {"arrays": model}, {"num-examples": 1})])
    assert yogi.state["square"]["dense.weight"].item() == pytest.approx(4.0 - 0.1)


def test_fedavgm_without_momentum_is_fedavg() -> None:
    grids = [Echo([1.0, 4.0], [3, 1]) for _ in range(2)]
    still = run(server("fedavgm", momentum=0.0), grids[0], 3)
    average = run(FedAvg(Net()), grids[1], 3)
    for name, tensor in average.items():
        torch.testing.assert_close(still[name], tensor)


@pytest.mark.slow  # test_engine interrupts every method; this is with their own parameters
@pytest.mark.parametrize("method", [*OPTIMISERS, "fednova"])
def test_an_interrupted_run_ends_like_an_uninterrupted_one(method: str, tmp_path: Path) -> None:
    assert_resumes(method, tmp_path)


@pytest.mark.parametrize(
    ("block", "words"),
    [
        ({"name": "fedavgm", "momentum": 1.0}, "less than 1"),
        ({"name": "fedadam", "tau": 0}, "greater than 0"),
        ({"name": "fedyogi", "beta_2": -0.1}, "greater than or equal to 0"),
        ({"name": "fedadagrad", "beta_2": 0.9}, "Extra inputs are not permitted"),
    ],
)
def test_values_out_of_range_are_refused(block: dict, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        toy.scenario(strategy=block)
