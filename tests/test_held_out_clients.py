"""Held-out clients: which they are, what they are tested with, and where that is shown."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch
from rich.console import Console
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import fedlab
from fedlab.comparison.comparison import Comparison
from fedlab.data.load import load_data
from fedlab.data.preprocess import Preprocess
from fedlab.deploy.server.serve_setup import setup_of
from fedlab.errors import InputError, RunError
from fedlab.partition.partition import Partition, make_partition
from fedlab.preparation import divide, prepare
from fedlab.report.terminal.partition_view import render
from fedlab.report.terminal.summary_table import print_closing_table
from fedlab.runs.run import Run
from fedlab.simulation import resume
from helpers import toy
from helpers.running import At, on, result

CLIENTS = 6
TWO = [1, 4]
SIX: dict[str, Any] = {"clients": CLIENTS, "held_out_clients": TWO}
PHONE = {"samples_per_second": 10, "download_mbps": 1, "upload_mbps": 1}
ADAPTS = {"adapt_steps": 3}


def scenario(**changes: Any) -> fedlab.Scenario:
    return toy.scenario(**{"partition": SIX, "evaluation": ADAPTS} | changes)


def run_of(folder: Path, **changes: Any) -> Run:
    return fedlab.simulate(scenario(**changes), out=folder, progress=False)


def clients_in(history: pandas.DataFrame, split: str) -> set[int]:
    rows = history[(history["split"] == split) & (history["client"] >= 0)]
    return set(rows["client"])


# ---------------------------------------------------------------------- who they are


def test_a_share_is_drawn_from_the_seed_and_leaves_the_partition_alone() -> None:
    drawn = set()
    for seed in range(8):
        fields = {"clients": 10, "held_out_clients": 0.3}
        chosen = toy.scenario(partition=fields, seed=seed)
        data, split = divide(chosen)
        plain = make_partition(toy.scenario(partition={"clients": 10}).partition, data, seed)
        assert split.held_out.tolist() == divide(chosen)[1].held_out.tolist()
        assert len(set(split.held_out)) == 3
        assert set(split.held_out) <= set(range(10))
        for name in ("train", "labels", "labelled", "train_offsets", "test", "test_offsets"):
            assert (getattr(split, name) == getattr(plain, name)).all()
        drawn.add(tuple(split.held_out))
    assert len(plain.held_out) == 0
    assert len(drawn) > 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"partition": {"clients": 3, "held_out_clients": 0.01}}, "holds out 0 and leaves 3"),
        ({"partition": {"clients": 3, "held_out_clients": 0.9}}, "holds out 3 and leaves 0"),
        ({"partition": {"clients": 3, "held_out_clients": 1}}, "at least one of each"),
        ({"partition": {"clients": 3, "held_out_clients": [3]}}, "there is no client 3"),
        ({"partition": {"clients": 3, "held_out_clients": [1, 1]}}, "each client once"),
        ({"partition": {"clients": 3, "held_out_clients": []}}, "at least one"),
        ({"partition": {"clients": 3, "held_out_clients": [0, 1, 2]}}, "none is left to train"),
        ({"partition": {"clients": 3}}, "add partition.held_out_clients"),
        ({"participation": {"fraction": 0.1}}, "of 4 clients samples no client"),
        ({"devices": {"profiles": [PHONE]}}, "virtual clock"),
    ],
)
def test_holding_out_no_client_or_all_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        scenario(**changes)


def test_devices_that_join_are_not_held_out() -> None:
    with pytest.raises(InputError, match=r"partition\.held_out_clients: a device that joins"):
        setup_of(scenario(evaluation={}), classes=list("abcd"))


# ---------------------------------------------------------------------- what happens to them


@pytest.mark.parametrize("strategy", ["fedavg", "flwr:FedAvg", "fedbn", "local_only", "fedproto"])
def test_they_never_train_and_are_tested_apart_in_every_round(
    tmp_path: Path, strategy: str
) -> None:
    history = run_of(tmp_path / "run", strategy=strategy).history
    assert clients_in(history, "train") == clients_in(history, "test") == {0, 2, 3, 5}
    assert clients_in(history, "held_out") == clients_in(history, "adapted") == set(TWO)
    for split in ("held_out", "adapted"):
        assert set(history.loc[history["split"] == split, "round"]) == {1, 2}
    kept = {file.name for file in (tmp_path / "run/checkpoints/clients").glob("*")}
    assert not any(name.startswith(("1-", "4-", "1.", "4.")) for name in kept)


def test_a_fraction_refers_to_those_that_may_train(tmp_path: Path) -> None:
    history = run_of(tmp_path / "run", participation={"fraction": 0.5}, rounds=6).history
    trained = history[(history["split"] == "train") & (history["metric"] == "loss")]
    assert set(trained.groupby("round")["client"].nunique()) == {2}
    assert set(trained["client"]) == {0, 2, 3, 5}


@pytest.mark.slow
def test_they_are_asked_nothing_before_the_first_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fedlab.engine.execution.runtime import Runtime

    asked: set[int] = set()
    answer = Runtime.answer

    def noted(self: Runtime, client: int, *rest: Any) -> Any:
        asked.add(client)
        return answer(self, client, *rest)

    monkeypatch.setattr(Runtime, "answer", noted)
    features = {
        "name": "warm_up",
        "rounds": 1,
        "network": {"name": "small_cnn", "widths": [8, 8, 8]},
    }
    data = {
        "sources": [{"name": "helpers.toy:Stripes"}],
        "image_size": 8,
        "features": features,
    }
    run_of(
        tmp_path / "run",
        strategy={"name": "ggeur", "min_class_count": 1},
        data=data,
        model="linear",
    )
    assert asked == {0, 2, 3, 5}


@pytest.mark.slow
def test_adaptation_leaves_nothing_behind(tmp_path: Path) -> None:
    first = run_of(tmp_path / "a", evaluation={}).history
    second = run_of(tmp_path / "b", evaluation={"adapt_steps": 50}).history
    for split in ("train", "test", "held_out", "round"):
        one, other = (
            h[(h["split"] == split) & ~h["metric"].str.startswith("seconds")].reset_index(drop=True)
            for h in (first, second)
        )
        pandas.testing.assert_frame_equal(one, other)


def test_centralised_training_pools_the_others_alone(tmp_path: Path) -> None:
    chosen = scenario(strategy="centralised")
    prepared = prepare(chosen)
    _, plain = divide(chosen)
    pooled = prepared.partition
    assert pooled.held_out.tolist() == [1, 2]
    assert len(pooled) == 3
    others = [client for client in range(CLIENTS) if client not in TWO]
    assert list(pooled[0].train) == list(np.concatenate([plain[k].train for k in others]))
    assert list(pooled[0].labels) == list(np.concatenate([plain[k].labels for k in others]))
    for place, client in enumerate(TWO, start=1):
        assert list(pooled[place].train) == list(plain[client].train)
        assert list(pooled[place].test) == list(plain[client].test)
    history = run_of(tmp_path / "run", strategy="centralised").history
    assert clients_in(history, "train") == {0}
    assert clients_in(history, "held_out") == {1, 2}


# ---------------------------------------------------------------------- the numbers


def plain_training(chosen: fedlab.Scenario, own: list[int]) -> nn.Module:
    """FedAvg over some clients, full batches, in plain PyTorch."""
    prepared = prepare(chosen)
    steps = chosen.training.local_steps
    assert steps is not None
    model = prepared.model
    for _ in range(chosen.rounds):
        start = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        states: list[dict[str, Tensor]] = []
        sizes = []
        for client in own:
            model.load_state_dict(start)
            x, y = samples(chosen, prepared.partition, client)
            descend(model, x, y, steps, chosen.training.optimizer.lr)
            states.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
            sizes.append(len(y))
        weights = torch.tensor(sizes, dtype=torch.float64) / sum(sizes)
        mean = {
            name: sum(
                (w * state[name].double() for w, state in zip(weights, states, strict=True)),
                torch.zeros((), dtype=torch.float64),
            ).to(start[name].dtype)
            for name in start
        }
        model.load_state_dict(mean)
    return model


def samples(
    chosen: fedlab.Scenario, partition: Partition, client: int, split: str = "train"
) -> tuple[Tensor, Tensor]:
    data = load_data(chosen.data)
    own = partition[client]
    pool, rows = (data.train, own.train) if split == "train" else (data.test, own.test)
    inputs = Preprocess(chosen.data, data).inputs(torch.from_numpy(pool.inputs[rows]))
    labels = own.labels if split == "train" else pool.labels[rows]
    return inputs, torch.from_numpy(labels)


def descend(model: nn.Module, x: Tensor, y: Tensor, steps: int, lr: float) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    model.train()
    for _ in range(steps):
        optimizer.zero_grad()
        cross_entropy(model(x), y).backward()
        optimizer.step()


@torch.no_grad()
def measured(model: nn.Module, x: Tensor, y: Tensor) -> tuple[float, float]:
    outputs = model.eval()(x)
    return float((outputs.argmax(1) == y).double().mean()), float(cross_entropy(outputs, y))


def test_numbers_are_those_of_a_plain_loop_that_never_saw_these_clients(tmp_path: Path) -> None:
    training = {"batch_size": "full", "local_steps": 2, "optimizer": {"lr": 0.1}}
    chosen = scenario(rounds=3, training=training)
    run = fedlab.simulate(chosen, out=tmp_path / "run", progress=False)
    model = plain_training(chosen, [0, 2, 3, 5])
    partition = divide(chosen)[1]
    start = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    last = run.history[run.history["round"] == 3].set_index(["split", "client", "metric"])["value"]
    accuracies = []
    for client in TWO:
        model.load_state_dict(start)
        x, y = samples(chosen, partition, client, "test")
        accuracy, loss = measured(model, x, y)
        assert last["held_out", client, "accuracy"] == pytest.approx(accuracy)
        assert last["held_out", client, "loss"] == pytest.approx(loss, rel=1e-4)
        accuracies.append(accuracy)
        descend(model, *samples(chosen, partition, client), 3, 0.1)
        accuracy, loss = measured(model, x, y)
        assert last["adapted", client, "accuracy"] == pytest.approx(accuracy)
        assert last["adapted", client, "loss"] == pytest.approx(loss, rel=1e-4)
    table = Comparison.of([run]).table()
    assert table["held-out clients", "mean"].iloc[0] == pytest.approx(np.mean(accuracies))


def test_a_domain_is_tested_whole_with_held_out_clients(tmp_path: Path) -> None:
    """The global model's accuracy on a domain counts the samples of held-out clients, too."""
    history = run_of(tmp_path / "run").history
    rows = history[(history["round"] == 2) & (history["metric"] == "accuracy")]
    for domain, own in rows[rows["domain"] != ""].groupby("domain"):
        whole = own[(own["client"] == -1) & (own["split"] == "test")].iloc[0]
        parts = own[(own["client"] >= 0) & own["split"].isin(["test", "held_out"])]
        assert whole["examples"] == parts["examples"].sum() == 20, domain
        assert whole["value"] == pytest.approx(
            np.average(parts["value"], weights=parts["examples"])
        )


@pytest.mark.slow_except("fedavg")
@pytest.mark.parametrize("strategy", ["fedavg", "fedbn"])
def test_a_held_out_client_starts_from_initial_values_in_what_is_kept(
    tmp_path: Path, strategy: str
) -> None:
    chosen = scenario(strategy=strategy)
    run = fedlab.simulate(chosen, out=tmp_path / "run", progress=False)
    prepared = prepare(chosen)
    own = run.model_state()
    state = {**prepared.model.state_dict(), **own}
    assert (len(own) < len(state)) == (strategy == "fedbn")
    prepared.model.load_state_dict(state)
    last = run.history[run.history["round"] == 2].set_index(["split", "client", "metric"])["value"]
    for client in TWO:
        x, y = samples(chosen, prepared.partition, client, "test")
        assert last["held_out", client, "loss"] == pytest.approx(
            measured(prepared.model, x, y)[1], rel=1e-4
        )


# ---------------------------------------------------------------------- the same bytes


@pytest.mark.slow_except("fedavg")
@pytest.mark.parametrize("strategy", ["fedavg", "scaffold"])
def test_a_resumed_run_is_the_run_that_was_never_interrupted(tmp_path: Path, strategy: str) -> None:
    run_of(tmp_path / "whole", strategy=strategy, rounds=4)

    def stop() -> None:
        raise RuntimeError("power cut")

    with pytest.raises((RuntimeError, RunError)):
        fedlab.simulate(
            scenario(strategy=strategy, rounds=4),
            out=tmp_path / "cut",
            callbacks=[At(2, stop)],
            progress=False,
        )
    resume(tmp_path / "cut", progress=False)
    assert result(tmp_path / "cut") == result(tmp_path / "whole")


@pytest.mark.slow
def test_ray_and_one_process_give_the_same_bytes(tmp_path: Path, ray_here: None) -> None:
    for backend in ("local", "ray"):
        run_of(tmp_path / backend, resources=on(backend))
    assert result(tmp_path / "local") == result(tmp_path / "ray")


# ---------------------------------------------------------------------- where it is shown


@pytest.mark.slow
def test_comparisons_have_a_column_for_them(tmp_path: Path) -> None:
    comparison = fedlab.compare(
        scenario(),
        ["fedavg", "fedbn"],
        seeds=[0, 1],
        out=tmp_path / "runs",
        progress=False,
    )
    table = comparison.table()
    for place, group in enumerate(comparison.groups):
        for measure, split in (
            ("held-out clients", "held_out"),
            ("held-out clients, adapted", "adapted"),
        ):
            by_seed = []
            for run in group.runs.values():
                rows = run.history
                rows = rows[(rows["round"] == 2) & (rows["split"] == split)]
                rows = rows[(rows["metric"] == "accuracy") & (rows["client"] >= 0)]
                by_seed.append(rows.set_index("client")["value"].mean())
            assert table[measure, "mean"].iloc[place] == pytest.approx(np.mean(by_seed))
    for text in (comparison.to_markdown(), comparison.to_latex()):
        assert "held-out clients, adapted" in text
    assert "after 3 steps on their own samples" in comparison.to_markdown()
    assert "fedbn: leaves no global model" in comparison.to_markdown()
    comparison.to_csv(tmp_path / "table.csv")
    assert "held-out clients mean" in pandas.read_csv(tmp_path / "table.csv").columns


def test_without_them_tables_are_what_they_were(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", partition={"clients": 3}, evaluation={})
    assert set(run.history["split"]) == {"train", "test", "round"}
    assert "held-out clients" not in shown(run)


def shown(run: Run) -> str:
    console = Console(file=io.StringIO(), width=120)
    print_closing_table(run, console)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_the_closing_table_and_the_partition_show_them(tmp_path: Path) -> None:
    text = shown(run_of(tmp_path / "run"))
    assert "held-out clients" in text
    assert "after 3 steps" in text
    data, partition = divide(scenario())
    console = Console(file=io.StringIO(), width=120)
    render(partition, data, console)
    assert "2 held out, never trained (*): 1, 4" in console.file.getvalue()  # type: ignore[attr-defined]


def test_a_client_without_labels_keeps_the_model_that_came_down(tmp_path: Path) -> None:
    from fedlab.engine.execution.local_adaptation import adapted
    from fedlab.engine.start import make_runtime

    chosen = scenario()
    prepared = prepare(chosen)
    runtime = make_runtime(chosen, "cpu", 1, prepared.data, prepared.partition)
    data = runtime.client_data(1)
    state = dict(prepared.model.state_dict())
    from fedlab.clients.base import Received

    def after(known: bool) -> dict[str, Tensor]:
        mask = torch.full_like(data.labelled, known)
        return dict(
            adapted(
                runtime.trainer.task,
                runtime.preprocess,
                state,
                Received({}, {"server-round": 1}),
                replace(data, labelled=mask),
                steps=2,
                batch_size=8,
                seed=0,
                client=1,
            )
        )

    assert all(torch.equal(after(False)[name], state[name]) for name in state)
    assert not all(torch.equal(after(True)[name], state[name]) for name in state)
