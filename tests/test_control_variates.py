"""SCAFFOLD, FedDyn and FedDC: clients remember how they differ from the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from fedlab.errors import InputError
from fedlab.federation.client_updates import ClientUpdate
from fedlab.preparation import prepare
from fedlab.records import Tensors
from fedlab.server_app import build_strategy
from fedlab.simulation import simulate
from fedlab.strategies.feddc import FedDC
from fedlab.strategies.feddyn import FedDyn
from fedlab.strategies.scaffold import Scaffold
from helpers import toy
from helpers.cohorts import ragged, runtime_of
from helpers.echo import Net
from helpers.method_rounds import NORMALISED, assert_resumes, play, scenario, size
from helpers.quadratic import CLIENTS, EQUAL, ZERO, Bed, error, samples, system
from helpers.running import result

METHODS = ["scaffold", "feddyn", "feddc"]


# ---------------------------------------------------------------------- a known optimum


def test_fedavg_misses_the_optimum_unless_clients_take_one_step() -> None:
    assert error(Bed({"name": "fedavg"}, lr=0.4), 15) > 0.1
    assert error(Bed({"name": "fedavg"}, lr=0.4, steps=(1, 1, 1)), 40) < 1e-10


@pytest.mark.parametrize(
    ("method", "rounds", "options"),
    [
        ({"name": "scaffold"}, 30, {"lr": 0.2}),
        ({"name": "scaffold"}, 32, {"lr": 0.2, "steps": (1, 3, 6)}),
        ({"name": "scaffold"}, 50, {"lr": 0.2, "fraction": 0.67}),
        ({"name": "feddyn", "alpha": 2.0}, 50, {"lr": 0.2}),
        ({"name": "feddyn", "alpha": 2.0}, 60, {"lr": 0.2, "fraction": 0.67}),
        ({"name": "feddc", "alpha": 0.5}, 30, {"lr": 0.3}),
        ({"name": "feddc", "alpha": 1.0}, 60, {"lr": 0.2, "fraction": 0.67}),
    ],
)
def test_the_optimum_is_reached(method: dict, rounds: int, options: dict) -> None:
    assert error(Bed(method, **options), rounds) < 1e-10


@pytest.mark.parametrize(
    ("method", "lr"),
    [
        ({"name": "scaffold"}, 0.2),
        ({"name": "feddyn", "alpha": 2.0}, 0.2),
        ({"name": "feddc", "alpha": 0.5}, 0.3),
    ],
    ids=METHODS,
)
def test_weighted_by_examples_the_optimum_is_that_of_all_samples(method: dict, lr: float) -> None:
    bed = Bed(method | {"weighting": "examples"}, copies=(1, 2, 5), lr=lr)
    assert error(bed, 50, weights=(1, 2, 5)) < 1e-10


@pytest.mark.slow_except("0.67")
@pytest.mark.parametrize("method", [{"name": "scaffold"}, {"name": "feddyn", "alpha": 2.0}])
@pytest.mark.parametrize(("fraction", "rounds"), [(0.3, 400), (0.67, 150)])
def test_weighted_by_examples_the_optimum_is_that_of_all_samples_with_a_part_of_the_clients(
    method: dict, fraction: float, rounds: int
) -> None:
    bed = Bed(method | {"weighting": "examples"}, copies=(1, 2, 5), lr=0.2, fraction=fraction)
    assert error(bed, rounds, weights=(1, 2, 5)) < 1e-9
    assert {len(cohort) for cohort in bed.cohorts} == {1 if fraction == 0.3 else 2}


def test_a_mean_over_all_clients_by_examples_is_that_of_the_sums_by_hand() -> None:
    # Of three clients, 0 and 1 train first (1 and 3 examples), then 2 (8) and 1.
    scaffold = Scaffold(Net(), Scaffold.Parameters(weighting="examples"))
    scaffold.initialise(ones())
    scaffold.population = 3
    zero = {"w": torch.zeros(1, dtype=torch.float64)}

    def took(mean: dict, change: float, *clients: tuple[int, int]) -> float:
        updates = [ClientUpdate(k, {}, {"num-examples": n}) for k, n in clients]
        new = {"w": torch.tensor([change], dtype=torch.float64)}
        mean["w"] = scaffold.take_in(mean, updates, new)["w"]
        return float(mean["w"])

    # c_0 = 4, c_1 = 0: their mean is (1 * 4 + 3 * 0) / 4 = 1. Client 2 counts as one of mean size,
    # 2, with c_2 = 0: (1 * 4) / (1 + 3 + 2) = 2/3.
    assert took(zero, 1.0, (0, 1), (1, 3)) == pytest.approx(2 / 3)
    # Now c_2 = 6 and c_1 = 0 + 11, whose mean change is (8 * 6 + 3 * 11) / 11 = 81/11; all sizes
    # are known: (1 * 4 + 3 * 11 + 8 * 6) / 12 = 85/12.
    assert took(zero, 81 / 11, (1, 3), (2, 8)) == pytest.approx(85 / 12)


@pytest.mark.slow_except("feddyn")
@pytest.mark.parametrize(
    ("method", "rounds"),
    [({"name": "feddc", "alpha": 0.5}, 150), ({"name": "feddyn", "alpha": 2.0}, 150)],
    ids=["feddc", "feddyn"],
)
def test_by_share_the_optimum_is_that_of_all_samples_though_clients_count_the_same(
    method: dict, rounds: int
) -> None:
    bed = Bed(method | {"by_share": True}, copies=(1, 2, 5), lr=0.2)
    assert error(bed, rounds, weights=(1, 2, 5)) < 1e-10


def test_feddyn_does_not_count_samples_twice() -> None:
    block = {"name": "feddyn", "by_share": True, "weighting": "examples"}
    with pytest.raises(InputError, match="counts them once more"):
        prepare(toy.scenario(strategy=block))


# ---------------------------------------------------------------------- as the papers write it

SYSTEMS = [system(samples(client)) for client in range(CLIENTS)]


def grad(client: int, x: torch.Tensor) -> torch.Tensor:
    a, b = SYSTEMS[client]
    return a @ x - b


def scaffold(bed: Bed, lr: float, steps: Sequence[int]) -> torch.Tensor:
    x, c, own = ZERO, ZERO, [ZERO] * CLIENTS
    for cohort in bed.cohorts:
        ends, before = [], list(own)
        for i in cohort:
            y = x
            for _ in range(steps[i]):
                y = y - lr * (grad(i, y) - own[i] + c)
            own[i] = own[i] - c + (x - y) / (steps[i] * lr)
            ends.append(y)
        x = x + 0.5 * sum(y - x for y in ends) / len(cohort)
        c = c + sum(new - old for new, old in zip(own, before, strict=True)) / CLIENTS
    return x


def feddyn(bed: Bed, lr: float, steps: Sequence[int]) -> torch.Tensor:
    alpha, w, h, own = 0.3, ZERO, ZERO, [ZERO] * CLIENTS
    for cohort in bed.cohorts:
        ends = []
        for i in cohort:
            theta = w
            for _ in range(steps[i]):
                theta = theta - lr * (grad(i, theta) - own[i] + alpha * (theta - w))
            own[i] = own[i] - alpha * (theta - w)
            ends.append(theta)
        h = h - alpha / CLIENTS * sum(theta - w for theta in ends)
        w = torch.stack(ends).mean(dim=0) - h / alpha
    return w


def feddc(
    bed: Bed, lr: float, steps: Sequence[int], shares: Sequence[float] = EQUAL
) -> torch.Tensor:
    alpha, w = 0.3, ZERO
    drifts, grads = [ZERO] * CLIENTS, [ZERO] * CLIENTS  # the latter times the client's share
    for server_round, cohort in enumerate(bed.cohorts):
        ends, mean = [], torch.stack(grads).mean(dim=0)
        for i in cohort:
            theta, share = w, shares[i] if server_round else 1.0
            for _ in range(steps[i]):
                penalty = (alpha * (theta - (w - drifts[i])) + mean - grads[i]) / share
                theta = theta - lr * (grad(i, theta) + penalty)
            drifts[i] = drifts[i] + theta - w
            grads[i] = grads[i] - mean + share * (w - theta) / (steps[i] * lr)
            ends.append(theta)
        w = torch.stack(ends).mean(dim=0) + torch.stack(drifts).mean(dim=0)
    return w


@pytest.mark.parametrize("fraction", [1.0, 0.67])
@pytest.mark.parametrize(
    ("method", "reference"),
    [
        ({"name": "scaffold", "server_lr": 0.5}, scaffold),
        ({"name": "feddyn", "alpha": 0.3}, feddyn),
        ({"name": "feddc", "alpha": 0.3}, feddc),
    ],
    ids=METHODS,
)
def test_rounds_are_those_of_the_formulas(
    method: dict, reference: Callable[..., torch.Tensor], fraction: float
) -> None:
    steps = (2, 3, 5)
    bed = Bed(method, steps=steps, fraction=fraction, lr=0.1)
    model = bed.run(6)
    assert {len(cohort) for cohort in bed.cohorts} == {round(fraction * CLIENTS)}
    torch.testing.assert_close(model, reference(bed, 0.1, steps), rtol=1e-12, atol=1e-12)


def test_feddc_by_share_is_that_of_the_formulas() -> None:
    method = {"name": "feddc", "alpha": 0.3, "by_share": True}
    bed = Bed(method, steps=(2, 3, 5), copies=(1, 2, 5), lr=0.1)
    model = bed.run(6)
    expected = feddc(bed, 0.1, (2, 3, 5), shares=(3 / 8, 6 / 8, 15 / 8))
    torch.testing.assert_close(model, expected, rtol=1e-12, atol=1e-12)


# ---------------------------------------------------------------------- strategies by hand


def update(client: int, weight: float, examples: int, **records: float) -> ClientUpdate:
    """A client's `Net` whose tensors all have one value, and more records of trainable ones."""
    trained = dict(Net().named_parameters())
    model = {n: torch.full_like(t, weight) for n, t in Net().state_dict().items()}
    others: dict[str, Tensors] = {
        record: {name: torch.full_like(t, value) for name, t in trained.items()}
        for record, value in records.items()
    }
    return ClientUpdate(client, {"arrays": model, **others}, {"num-examples": examples})


def ones() -> Tensors:
    return {name: torch.ones_like(tensor) for name, tensor in Net().state_dict().items()}


def test_scaffold_by_hand() -> None:
    strategy = Scaffold(Net(), Scaffold.Parameters(server_lr=0.5))
    strategy.initialise(ones())
    strategy.population = 4
    strategy.aggregate(1, [update(0, 3.0, 7, control=2.0), update(2, 5.0, 1, control=4.0)])
    state = strategy.state
    assert state["arrays"]["dense.weight"].item() == 2.5  # 1 + ½ · mean(2, 4)
    assert state["control"]["dense.weight"].item() == 1.5  # 0 + 2/4 · mean(2, 4)
    assert state["control"].keys() == dict(Net().named_parameters()).keys()
    assert state["arrays"]["norm.running_var"].item() == 4.0  # the clients' mean
    assert state["arrays"]["norm.num_batches_tracked"].item() == 5


def test_feddyn_by_hand() -> None:
    strategy = FedDyn(Net(), FedDyn.Parameters(alpha=0.5))
    strategy.initialise(ones())
    strategy.population = 4
    strategy.aggregate(1, [update(0, 3.0, 7), update(2, 5.0, 1)])
    assert strategy.state["h"]["dense.weight"].item() == -0.75  # -½ · ¼ · (2 + 4)
    assert strategy.state["arrays"]["dense.weight"].item() == 5.5  # 4 + 0.75 / ½
    assert strategy.state["arrays"]["norm.running_var"].item() == 4.0


def test_feddc_by_hand() -> None:
    strategy = FedDC(Net())
    strategy.initialise(ones())
    strategy.population = 4
    strategy.aggregate(1, [update(0, 3.0, 7, gradient=2.0), update(2, 5.0, 1, gradient=4.0)])
    assert strategy.state["gradient"]["dense.weight"].item() == 1.5
    assert strategy.state["drift"]["dense.weight"].item() == 1.5  # ¼ · (2 + 4)
    assert strategy.state["arrays"]["dense.weight"].item() == 5.5  # 4 + 1.5
    assert strategy.state["arrays"]["norm.running_var"].item() == 4.0


# ---------------------------------------------------------------------- on real networks


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.usefixtures("double")
def test_together_is_one_by_one_also_for_clients_that_take_no_step(method: str) -> None:
    training = {"batch_size": 8, "optimizer": {"lr": 0.05, "weight_decay": 0.01}}
    runtime = ragged(strategy=method, model=NORMALISED, training=training)
    assert runtime.trainer.supports_vmap
    updates = play(runtime, 2, tolerance=1e-9)
    idle = [sent for sent in updates if sent.metrics["steps"] == 0]
    assert len(idle) == 1
    for record in idle[0].arrays.values():
        assert all(tensor.isfinite().all() for tensor in record.values())


@pytest.mark.parametrize(
    ("method", "up", "down"), [("scaffold", 2, 2), ("feddyn", 1, 1), ("feddc", 2, 2)]
)
def test_what_travels(method: str, up: int, down: int) -> None:
    runtime = runtime_of(strategy=method, model=NORMALISED)
    network = runtime.trainer.task.model
    trained = size([dict(network.named_parameters())])
    untrained = size([dict(network.named_buffers())])
    assert untrained > 0
    (first, *_) = play(runtime, 1)
    assert size([dict(record) for record in first.arrays.values()]) == up * trained + untrained
    strategy = build_strategy(runtime.scenario, network)
    strategy.initialise(dict(network.state_dict()))
    assert size(list(strategy.broadcast(1).values())) == down * trained + untrained


@pytest.mark.slow  # test_engine interrupts every method; this is on another problem
@pytest.mark.parametrize(
    "method", [*METHODS, *({"name": n, "weighting": "examples"} for n in ("scaffold", "feddyn"))]
)
def test_an_interrupted_run_ends_like_an_uninterrupted_one(method: Any, tmp_path: Path) -> None:
    assert_resumes(method, tmp_path)


@pytest.mark.usefixtures("ray_here")
@pytest.mark.slow
def test_ray_and_this_process_give_the_same_bytes(tmp_path: Path) -> None:
    for backend in ("local", "ray"):
        chosen = scenario("feddc", resources={"backend": backend})  # it sends and keeps the most
        simulate(chosen, out=tmp_path / backend, progress=False)
    assert result(tmp_path / "local") == result(tmp_path / "ray")


# ---------------------------------------------------------------------- refusals


@pytest.mark.parametrize("method", ["scaffold", "feddc"])
@pytest.mark.parametrize(
    ("optimizer", "words"),
    [
        ({"momentum": 0.9}, r"momentum: 0.9 does not go with .* use training.optimizer.momentum=0"),
        ({"name": "adam"}, r"name: 'adam' does not go with .* use training.optimizer.name=sgd"),
    ],
)
def test_only_plain_sgd_determines_the_mean_gradient(
    method: str, optimizer: dict, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        prepare(scenario(method, training={"optimizer": optimizer}))


@pytest.mark.parametrize(
    "block",
    [
        {"name": "scaffold", "server_lr": 0},
        {"name": "feddyn", "alpha": 0},
        {"name": "feddc", "alpha": -1},
    ],
)
def test_values_out_of_range_are_refused(block: dict) -> None:
    with pytest.raises(ValidationError, match="greater than 0"):
        toy.scenario(strategy=block)
