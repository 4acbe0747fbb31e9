"""Rounds of several phases, and questions before the first round."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from fedlab.clients.base import Received
from fedlab.engine.execution.sequential import client_stats_of
from fedlab.runs.checkpoint import latest_checkpoint
from fedlab.simulation import resume, simulate
from fedlab.training.task import Batch
from helpers.cohorts import assert_same, both, ragged, received, runtime_of
from helpers.toy import scenario

PHASED = {"name": "helpers.phased:Curious", "client": "helpers.phased:Phased"}


@pytest.mark.slow_except("optimizer1")
@pytest.mark.parametrize("optimizer", [{"lr": 0.05, "momentum": 0.9}, {"name": "adam"}])
@pytest.mark.usefixtures("double")
def test_phases_of_a_stack_are_those_of_its_clients(optimizer: dict[str, Any]) -> None:
    changes: dict[str, Any] = {
        "strategy": PHASED,
        "model": {"name": "small_cnn", "widths": [4, 8, 8], "norm": "group"},
        "training": {"batch_size": 8, "optimizer": optimizer},
    }
    assert ragged(**changes).trainer.supports_vmap
    assert_same(*both(ragged(**changes), rounds=1), 1e-6)  # views are made in single precision


def test_only_trained_parameters_move_in_a_phase() -> None:
    runtime = runtime_of(strategy=PHASED)
    trainer, down = runtime.trainer, received(runtime)
    (first, _), (head, body) = trainer.phases(), ("3.weight", "1.weight")
    assert trainer.task.head.names == (head, "3.bias")
    data = runtime.client_data(0)
    start = trainer.begin(down, {}, client_stats_of(trainer, data))
    rows = torch.arange(8)
    batch = Batch(runtime.preprocess.inputs(data.inputs[rows]), data.labels[rows], rows)
    after, _ = trainer.step(start, batch, first, 1)
    assert torch.equal(after.parameters[body], down.model[body])
    assert not torch.equal(after.parameters[head], down.model[head])


def test_the_methods_own_metrics_and_records_go_up() -> None:
    runtime = runtime_of(strategy=PHASED)
    update, metrics = runtime.train(0, received(runtime), {})
    assert metrics["counted"] == metrics["steps"] == 4
    assert update.arrays["head"].keys() == set(runtime.trainer.task.head.names)


@pytest.mark.slow_for("ray")
@pytest.mark.parametrize("backend", ["local", "ray"])
@pytest.mark.usefixtures("ray_here")
def test_clients_are_asked_before_the_first_round(tmp_path: Path, backend: str) -> None:
    asked = scenario(
        strategy=PHASED, model={"name": "mlp", "hidden": [16]}, resources={"backend": backend}
    )
    run = simulate(asked, out=tmp_path / "run", progress=False)
    checkpoint = latest_checkpoint(tmp_path / "run" / "checkpoints")
    assert checkpoint is not None
    # 3 clients of 40 labels of 4 classes, each count doubled and one more.
    assert checkpoint.server["counts"]["labels"].tolist() == [63, 63, 63, 63]
    assert checkpoint.client_records()[0]["asked"]["labels"].numpy().tolist() == [21, 21, 21, 21]
    traffic = run.history.query("metric == 'bytes_up'").set_index("round").value
    assert traffic[1] > traffic[2]
    assert resume(tmp_path / "run", progress=False).finished


@pytest.mark.parametrize("method", ["qfedavg", "afl", "fedproto", "fedplvm"])
def test_metrics_of_training_are_those_of_steps_that_train(method: str) -> None:
    """Batches of everything, so that the three steps of a round are those of FedAvg."""
    training = {"batch_size": "full", "local_epochs": 3, "optimizer": {"lr": 0.1}}
    found = []
    for name in ("fedavg", method):
        runtime = runtime_of(strategy={"name": name}, training=training)
        down = received(runtime)
        down = Received({"arrays": {n: down.model[n] for n in runtime.trainer.shared}}, down.config)
        clients = list(range(4))
        alone = [runtime.train(client, down, {})[1] for client in clients]
        together = [metrics for _, metrics in runtime.train_many(clients, down, [{}] * 4)]
        for metrics, others in zip(alone, together, strict=True):
            assert metrics == pytest.approx(others, abs=1e-5)
        found.append(alone)
    for metrics, others in zip(*found, strict=True):
        shown = ("steps", "loss", "accuracy")
        assert [metrics[n] for n in shown] == pytest.approx([others[n] for n in shown], abs=1e-5)
