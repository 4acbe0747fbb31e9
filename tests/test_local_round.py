"""What one client does in a round, held against plain PyTorch."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from fedlab.engine.execution.batch_schedule import Schedule
from fedlab.engine.execution.padded_steps import PaddedSteps
from fedlab.engine.execution.passes import BatchSize, Passes
from fedlab.engine.execution.runtime import Runtime
from fedlab.preparation import prepare
from fedlab.server_app import build_strategy
from helpers import toy
from helpers.cohorts import received


def runtime_of(**changes) -> Runtime:
    prepared = prepare(toy.scenario(**changes))
    return Runtime(prepared.scenario, prepared.data, prepared.partition, torch.device("cpu"))


OPTIMIZERS = [
    ({"lr": 0.1}, lambda p: torch.optim.SGD(p, lr=0.1)),
    (
        {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01, "nesterov": True},
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01, nesterov=True),
    ),
    ({"name": "adam", "lr": 0.01}, lambda p: torch.optim.Adam(p, lr=0.01)),
    (
        {"name": "adamw", "lr": 0.01, "weight_decay": 0.1},
        lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1),
    ),
]


@pytest.mark.slow_except("sgd", "adam")
@pytest.mark.parametrize(("options", "make"), OPTIMIZERS, ids=["sgd", "nesterov", "adam", "adamw"])
def test_full_batch_epochs_are_plain_pytorch(options: dict, make) -> None:
    training = {"batch_size": "full", "local_epochs": 3, "optimizer": options}
    runtime = runtime_of(training=training)
    update, metrics = runtime.train(0, received(runtime), {})

    model = copy.deepcopy(runtime.trainer.task.model).train()
    optimizer = make(model.parameters())
    data = runtime.client_data(0)
    for _ in range(3):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(data.inputs.float() / 127.5 - 1), data.labels).backward()
        optimizer.step()
    for name, value in model.state_dict().items():
        torch.testing.assert_close(update.arrays["arrays"][name], value, rtol=1e-4, atol=1e-5)
    assert metrics["num-examples"] == 40
    assert metrics["steps"] == 3


def test_what_came_down_is_not_written_to() -> None:
    runtime = runtime_of()
    down = received(runtime)
    before = {name: tensor.clone() for name, tensor in down.model.items()}
    runtime.train(0, down, {})
    assert all(torch.equal(down.model[name], before[name]) for name in before)


def test_gradient_norm_is_clipped() -> None:
    training = {"batch_size": "full", "optimizer": {"lr": 1.0, "clip_norm": 1e-3}}
    runtime = runtime_of(training=training)
    down = received(runtime)
    update, _ = runtime.train(0, down, {})
    names = [name for name, _ in runtime.trainer.task.model.named_parameters()]
    moved = torch.cat([(update.arrays["arrays"][n] - down.model[n]).flatten() for n in names])
    assert moved.norm().item() == pytest.approx(1e-3, rel=1e-2)


def test_learning_rate_decays_by_round() -> None:
    training = {"batch_size": "full", "optimizer": {"lr": 0.1, "lr_decay": 0.5}}
    runtime = runtime_of(training=training)
    name = next(n for n, _ in runtime.trainer.task.model.named_parameters())

    def moved(server_round: int) -> torch.Tensor:
        down = received(runtime, server_round)
        return runtime.train(0, down, {})[0].arrays["arrays"][name] - down.model[name]

    torch.testing.assert_close(moved(3), moved(1) / 4, rtol=1e-3, atol=1e-7)


def test_fedprox_pulls_towards_what_came_down() -> None:
    training = {"batch_size": "full", "local_epochs": 2, "optimizer": {"lr": 0.1}}
    prox = runtime_of(training=training, strategy={"name": "fedprox", "mu": 5.0})
    plain = runtime_of(training=training)
    free = plain.train(0, received(plain), {})[0].arrays["arrays"]
    sent = build_strategy(prox.scenario, prox.trainer.task.model).config(1)["proximal-mu"]
    held = prox.train(0, received(prox, **{"proximal-mu": sent}), {})[0].arrays["arrays"]
    start = received(plain).model
    # First step: the anchor is where it starts, so the term has no slope. Second step: the slope
    # is mu * (θ1 - w), and θ1 - w is what one plain step moves.
    one = runtime_of(training=training | {"local_epochs": 1})
    first = one.train(0, received(one), {})[0].arrays["arrays"]
    for name, _ in plain.trainer.task.model.named_parameters():
        expected = free[name] - 0.1 * 5.0 * (first[name] - start[name])
        torch.testing.assert_close(held[name], expected, rtol=1e-3, atol=1e-5)


def test_order_depends_on_seed_client_and_round_only() -> None:
    runtime = runtime_of()
    again = runtime_of()
    runtime.train(1, received(runtime), {})  # other clients before must not matter
    first = runtime.train(0, received(runtime), {})[0].arrays["arrays"]
    second = again.train(0, received(again), {})[0].arrays["arrays"]
    assert all(torch.equal(first[name], second[name]) for name in first)
    later = again.train(0, received(again, server_round=2), {})[0].arrays["arrays"]
    assert any(not torch.equal(first[name], later[name]) for name in first)


def test_passes_cover_all_samples_once() -> None:
    rows = torch.arange(10, 17)
    generator = torch.Generator().manual_seed(0)
    passes = Passes.over(7, 3, epochs=2)
    drawn = rows[passes.draw(7, generator)].split_with_sizes(passes.every_size)
    assert [len(chunk) for chunk in drawn] == [3, 3, 1, 3, 3, 1]
    assert torch.cat(drawn[:3]).sort().values.tolist() == rows.tolist()
    assert torch.cat(drawn[:3]).tolist() != torch.cat(drawn[3:]).tolist()


@pytest.mark.parametrize(
    ("rows", "batch_size", "asked", "sizes"),
    [
        (7, 3, {"steps": 5, "smallest": 2}, [3, 3, 3, 3, 3]),  # batch normalisation wants two
        (8, 3, {"smallest": 2}, [3, 3, 2]),
        (1, 3, {"smallest": 2}, [1]),  # there is no other
        (7, 3, {"remainder": "drop", "epochs": 2}, [3, 3, 3, 3]),
        (7, 3, {"remainder": "merge"}, [3, 4]),
        (6, 3, {"remainder": "merge"}, [3, 3]),
        (7, 3, {"remainder": "merge", "steps": 3}, [3, 4, 3]),
        (2, 3, {"remainder": "drop"}, [2]),
        (2, 3, {"remainder": "merge"}, [2]),
        (7, "full", {"epochs": 2}, [7, 7]),
        (0, 3, {"steps": 5}, []),
    ],
)
def test_what_is_left_of_a_pass(
    rows: int, batch_size: BatchSize, asked: dict[str, Any], sizes: list[int]
) -> None:
    passes = Passes.over(rows, batch_size, **asked)
    drawn = passes.draw(rows, torch.Generator())
    assert passes.every_size == tuple(sizes)
    assert (passes.steps, passes.samples) == (len(sizes), len(drawn))


def test_steps_of_several_clients_side_by_side_are_padded() -> None:
    one = Schedule(5, [torch.tensor([3, 0, 4]), torch.tensor([2, 1])], [(2, 1), (2,)], (True, True))
    other = Schedule(
        3, [torch.tensor([1, 2, 0]), torch.tensor([], dtype=torch.int64)], [(3,), ()], (True, True)
    )
    steps = PaddedSteps([one, other])
    assert steps.widths == [3, 1, 2]
    rows = [steps.part(steps.rows, step).tolist() for step in range(3)]
    assert rows == [[[3, 0, 0], [1, 2, 0]], [[4]], [[2, 1]]]
    real = [steps.part(steps.real, step).tolist() for step in range(3)]
    assert real == [[[True, True, False], [True] * 3], [[True]], [[True, True]]]
    assert steps.lengths.tolist() == [[2, 1, 2], [3, 0, 0]]


def test_clients_without_a_step_have_none_side_by_side() -> None:
    nothing = Schedule(0, [torch.tensor([], dtype=torch.int64)], [()], (True,))
    assert PaddedSteps([nothing, nothing]).widths == []
