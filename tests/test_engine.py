"""The grids: one code path, the same bytes, also when processes fail."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import nn

from fedlab.config import registry
from fedlab.engine.ray.resources import Hardware, plan_actors
from fedlab.engine.start import start_grid
from fedlab.errors import InputError, RunError
from fedlab.preparation import prepare
from fedlab.records import arrays_of, to_record
from fedlab.runs.run import Run, load_run
from fedlab.scenario import ResourcesSpec
from fedlab.server_app import build_strategy
from fedlab.simulation import resume, simulate
from helpers import toy
from helpers.running import ELSEWHERE, At, every, on, result

REPEATED = [("fedprox", "auto"), ("silobn", "auto"), ("fedwon", "auto"), ("fedbn", "vmap")]
"""Methods that send on Ray what others send too, by how they are executed."""


@pytest.mark.slow_except("fedbn-auto")
@pytest.mark.parametrize(
    ("method", "execution"),
    [
        ("fedavg", "auto"),
        ("fedbn", "auto"),
        ("fedwon", "vmap"),
        *(pytest.param(*each, marks=pytest.mark.slow) for each in REPEATED),
    ],
)
def test_ray_and_this_process_give_the_same_bytes(
    method: str, execution: str, tmp_path: Path, ray_here: None
) -> None:
    engine = {"execution": execution, "stack_size": 2}
    for backend in ("local", "ray"):
        chosen = toy.scenario(strategy=method, resources=on(backend), engine=engine)
        simulate(chosen, out=tmp_path / backend)
    assert result(tmp_path / "local") == result(tmp_path / "ray")


def test_two_runs_with_one_seed_are_the_same_and_another_seed_is_not(tmp_path: Path) -> None:
    for name, seed in [("a", 1), ("b", 1), ("c", 2)]:
        simulate(toy.scenario(seed=seed, strategy="fedbn"), out=tmp_path / name)
    assert result(tmp_path / "a") == result(tmp_path / "b")
    assert result(tmp_path / "a") != result(tmp_path / "c")


EVERY_METHOD = [name for name in registry.names("strategies") if name not in ELSEWHERE]


FEW_LABELS = {"clients": 3, "label_budget": {"share": 0.5}}


@pytest.mark.slow_except("fedavg", "fedbn", "scaffold", "fedproto", "local_only")
@pytest.mark.parametrize("method", every([*EVERY_METHOD, "flwr:FedAdam", "flwr:FedAvgM"]))
def test_an_interrupted_run_ends_like_an_uninterrupted_one(method: str, tmp_path: Path) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    fields: dict = {"strategy": {"name": method}, "participation": {"fraction": 0.67}}
    if method == "flwr:FedAvgM":
        fields["strategy"] |= {"server_momentum": 0.5}
    if method in ("fedlabel", "fixmatch", "uda"):
        fields["partition"] = FEW_LABELS
    chosen = toy.scenario(rounds=4, evaluation={"every": 2}, **fields)
    simulate(chosen, out=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        simulate(chosen, out=tmp_path / "cut", callbacks=[At(2, interrupt)])
    with (tmp_path / "cut" / "history.csv").open("a") as file:
        file.write("half a li")
    assert not load_run(tmp_path / "cut").finished
    assert resume(tmp_path / "cut").finished
    assert result(tmp_path / "whole") == result(tmp_path / "cut")


def test_fedavg_with_one_client_and_full_batches_is_plain_sgd(tmp_path: Path) -> None:
    chosen = toy.scenario(
        rounds=5,
        data={"sources": [{"name": "helpers.toy:Stripes", "domains": 1}], "image_size": 8},
        partition={"clients": 1},
        training={"batch_size": "full", "optimizer": {"lr": 0.1}},
    )
    final = simulate(chosen, out=tmp_path / "run").model_state()

    prepared = prepare(chosen)
    model = prepared.model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    inputs = torch.from_numpy(prepared.data.train.inputs).float() / 127.5 - 1
    labels = torch.from_numpy(prepared.data.train.labels)
    for _ in range(5):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs), labels).backward()
        optimizer.step()
    for name, value in model.state_dict().items():
        torch.testing.assert_close(final[name], value, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_run_cut_before_its_first_checkpoint_starts_again(tmp_path: Path) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    chosen = toy.scenario(output={"checkpoint_every": 2})
    simulate(chosen, out=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        simulate(chosen, out=tmp_path / "cut", callbacks=[At(1, interrupt)])
    resume(tmp_path / "cut")
    assert result(tmp_path / "whole") == result(tmp_path / "cut")


@pytest.mark.slow
def test_a_killed_actor_changes_nothing(tmp_path: Path, ray_here: None) -> None:
    from fedlab.engine.ray.ray_grid import RayGrid

    chosen = toy.scenario(strategy="fedbn", resources=on("ray"))
    prepared = prepare(chosen)
    model = prepared.model

    def rounds(kill: bool) -> tuple[dict, dict]:
        grid, _ = start_grid(chosen, prepared.data, prepared.partition)
        assert isinstance(grid, RayGrid)
        with grid:
            strategy = build_strategy(chosen, model)
            callback = At(1, lambda: os.kill(grid.actor_pids[0], signal.SIGKILL)) if kill else None
            strategy.start(
                grid,
                to_record(model.state_dict()),
                num_rounds=3,
                callbacks=[callback] if callback else [],
            )
            return strategy.state["arrays"], {
                client: arrays_of(state)["model"]
                for client, state in grid.export_states(range(3)).items()
            }

    shared, own = rounds(kill=False)
    shared_again, own_again = rounds(kill=True)
    assert all(torch.equal(shared[name], shared_again[name]) for name in shared)
    for client in own:
        assert all(torch.equal(own[client][n], own_again[client][n]) for n in own[client])


def uplinks(method: str, model: str) -> tuple[nn.Module, Sequence[dict[str, set[str]]]]:
    """The network, and the names in each record of the messages to clients and of a reply."""
    chosen = toy.scenario(
        strategy=method,
        model={"name": model},
        data={"sources": ["helpers.toy:Stripes"], "image_size": 16},
    )
    prepared = prepare(chosen)
    grid, _ = start_grid(chosen, prepared.data, prepared.partition)
    strategy = build_strategy(chosen, prepared.model)
    arrays = to_record(prepared.model.state_dict())
    from flwr.app import ConfigRecord

    messages = list(strategy.configure_train(1, arrays, ConfigRecord(), grid))
    replies = list(grid.send_and_receive(messages[:1]))
    return prepared.model, [
        {name: set(record) for name, record in message.content.array_records.items()}
        for message in [*messages, *replies]
    ]


@pytest.mark.slow
def test_fedbn_sends_no_normalisation_tensor_on_resnet18() -> None:
    model, records = uplinks("fedbn", "resnet18")
    normalisation = {
        f"{path}.{name}"
        for path, module in model.named_modules()
        if isinstance(module, nn.BatchNorm2d)
        for name in module.state_dict()
    }
    assert any("downsample" in name for name in normalisation)
    for names in records:
        assert names == {"arrays": model.state_dict().keys() - normalisation}


def test_silobn_sends_scale_and_shift_but_no_running_statistics() -> None:
    model, records = uplinks("silobn", "small_cnn")
    statistics = {name for name, _ in model.named_buffers()}
    assert statistics
    for names in records:
        assert names["arrays"] == model.state_dict().keys() - statistics


def test_fedbn_clients_keep_their_own_layers_and_differ(tmp_path: Path) -> None:
    run = simulate(toy.scenario(strategy="fedbn"), out=tmp_path / "run")
    first, second = run.model_state(client=0), run.model_state(client=1)
    different = {name for name in first if not torch.equal(first[name], second[name])}
    assert different
    assert all("running" in name or "weight" in name or "bias" in name for name in different)
    shared = run.model_state()
    assert all(torch.equal(shared[name], first[name]) for name in shared)
    assert not different & shared.keys()


def test_history_has_every_client_domain_and_the_traffic(tmp_path: Path) -> None:
    run = simulate(toy.scenario(), out=tmp_path / "run")
    history: pd.DataFrame = run.history
    tests = history[(history.split == "test") & (history.metric == "accuracy")]
    last = tests[tests["round"] == 2]
    clients = last[last.client >= 0]
    assert sorted(zip(clients.client, clients.domain, strict=True)) == [
        (0, "d0"),
        (1, "d1"),
        (2, "d2"),
    ]
    globals_ = last[last.client == -1].set_index("domain").value
    assert globals_.to_dict() == clients.set_index("domain").value.to_dict()
    size = sum(t.numel() * t.element_size() for t in run.model_state().values())
    rounds = history[(history.split == "round") & (history["round"] == 1)].set_index("metric").value
    assert rounds["bytes_up"] == 3 * size
    assert rounds["bytes_down"] == 6 * size  # once to train, once to evaluate
    assert rounds["failed"] == 0


def test_an_unseen_domain_is_tested_by_the_global_model(tmp_path: Path) -> None:
    data = {"sources": ["helpers.toy:Stripes"], "image_size": 8, "unseen_domains": ["d2"]}
    run = simulate(toy.scenario(data=data, partition={"clients": 2}), out=tmp_path / "run")
    tests = run.history[(run.history.split == "test") & (run.history.metric == "accuracy")]
    assert set(tests[tests.client >= 0].domain) == {"d0", "d1"}
    assert set(tests[tests.client == -1].domain) == {"d0", "d1", "d2"}
    unseen = tests[(tests.client == -1) & (tests.domain == "d2")]
    assert (unseen.examples == 20).all()


def failing(tmp_path: Path, **participation) -> Run:
    """A run in which client 1 raises while training."""
    chosen = toy.scenario(
        strategy={"name": "fedavg", "client": "helpers.failing:FailsOnOne"},
        participation=participation,
    )
    return simulate(chosen, out=tmp_path / "run")


def test_a_client_that_raises_stops_the_run_with_its_traceback(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"round 1: 1 of 3 clients failed.*(?s:.*)no luck"):
        failing(tmp_path)


def test_failures_are_tolerated_up_to_the_stated_share(tmp_path: Path) -> None:
    run = failing(tmp_path, max_failed_share=0.4)
    failed = run.history[(run.history.metric == "failed")].value.tolist()
    assert failed == [1.0, 1.0]


@pytest.mark.parametrize(
    ("spec", "hardware", "words"),
    [
        ({"gpus_per_actor": 1}, Hardware(4, 0), "has no GPU"),
        ({"actors": 3}, Hardware(2, 0), "use at most 2"),
        ({"cpus_per_actor": 4}, Hardware(2, 0), "does not fit"),
        ({"gpus_per_actor": 1.5}, Hardware(8, 4), "whole number"),
    ],
)
def test_more_than_there_is_is_refused(spec: dict, hardware: Hardware, words: str) -> None:
    with pytest.raises(InputError, match=words):
        plan_actors(ResourcesSpec(**spec), hardware, cohort=8)


@pytest.mark.parametrize(
    ("spec", "hardware", "cohort", "expected"),
    [
        ({}, Hardware(2, 0), 100, (2, 1, 0.0)),
        ({}, Hardware(64, 0), 5, (5, 1, 0.0)),
        ({}, Hardware(64, 2), 100, (8, 1, 0.25)),
        ({}, Hardware(4, 8), 100, (4, 1, 0.25)),
        ({"gpus_per_actor": 2}, Hardware(64, 8), 100, (4, 1, 2)),
        ({"gpus_per_actor": 0}, Hardware(8, 2), 100, (8, 1, 0)),
    ],
)
def test_hardware_is_divided(spec: dict, hardware: Hardware, cohort: int, expected: tuple) -> None:
    plan = plan_actors(ResourcesSpec(**spec), hardware, cohort)
    assert (plan.actors, plan.cpus, plan.gpus) == expected
