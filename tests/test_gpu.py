"""What needs a CUDA device: run with ``pytest -m gpu`` on a machine that has one."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from fedlab.clients.base import Received
from fedlab.engine.execution.captured import cuda_graphs
from fedlab.engine.execution.captured.compiled_steps import missing
from fedlab.engine.execution.runtime import Runtime
from fedlab.preparation import prepare
from fedlab.runs.run import Run
from fedlab.simulation import simulate
from helpers import toy
from helpers.cohorts import MODELS

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("method", ["fedavg", "fedbn", "fedwon"])
def test_a_gpu_gives_a_cpus_numbers(method: str, tmp_path: Path) -> None:
    on_gpu, on_cpu = (
        simulate(
            toy.scenario(strategy=method, resources={"backend": "local", "device": device}),
            out=tmp_path / device,
        ).model_state()
        for device in ("cuda", "cpu")
    )
    for name in on_cpu:
        torch.testing.assert_close(on_gpu[name], on_cpu[name], rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("share", [1.0, 0.5, 0.25])
def test_actors_share_a_gpu_and_two_runs_are_the_same(share: float, tmp_path: Path) -> None:
    chosen = toy.scenario(strategy="fedbn", resources={"gpus_per_actor": share})
    runs = [simulate(chosen, out=tmp_path / str(i)).model_state() for i in range(2)]
    for name in runs[0]:
        assert torch.equal(runs[0][name], runs[1][name])


# ---------------------------------------------------------------------- captured steps


def run(execution: str, folder: Path, **changes: Any) -> Run:
    """A run on the GPU: three clients, steps of 16, 16 and 8 samples, three rounds."""
    scenario = toy.scenario(
        **{"rounds": 3, "model": MODELS["cnn-batch"]} | changes,
        resources={"backend": "local", "device": "cuda"},
        engine={"execution": execution, "dense_layers": "dense"},
    )
    return simulate(scenario, out=folder / execution, progress=False)


def assert_same(one: Run, other: Run, within: float) -> None:
    here, there = one.model_state(), other.model_state()
    for name, tensor in here.items():
        torch.testing.assert_close(there[name], tensor, rtol=within, atol=within, msg=name)


def training(**optimizer: Any) -> dict[str, Any]:
    return {"training": {"batch_size": 16, "optimizer": {"lr": 0.02} | optimizer}}


CAPTURED: dict[str, dict[str, Any]] = {
    "fedavg": {},
    "fedprox-momentum": {"strategy": "fedprox", **training(momentum=0.9, nesterov=True)},
    "scaffold": {"strategy": "scaffold"},
    "fedbn-adam": {"strategy": "fedbn", **training(name="adam", lr=0.005)},
    "clip": training(weight_decay=0.1, clip_norm=0.05),
    "decay": training(lr_decay=0.5),
    "ditto": {"strategy": "ditto"},
    "moon": {"strategy": "moon"},
    "fedsam": {"strategy": "fedsam"},
    "fraug": {"strategy": "fraug"},
    "fixbn": {"strategy": "fixbn"},
    "fedrep-adam": {"strategy": "fedrep", **training(name="adam", lr=0.005)},
    "full": {"training": {"batch_size": "full", "local_epochs": 3}},
    "bf16": {"training": {"batch_size": 16, "precision": "bf16"}},
    "resnet": {"model": MODELS["resnet20"]},
    "augmented": {
        "data": {
            "sources": [{"name": "helpers.toy:Stripes"}],
            "image_size": 8,
            "augmentation": {"rotation": 15.0, "crop_padding": 2, "brightness": 0.3},
        }
    },
}


@pytest.mark.parametrize("case", CAPTURED)
def test_cuda_graphs_have_the_numbers_of_one_operation_after_the_other(
    case: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "fedlab"):
        plain, replayed = (
            run(each, tmp_path, **CAPTURED[case]) for each in ("sequential", "graph")
        )
    assert not [said for said in caplog.messages if "without" in said]
    assert_same(plain, replayed, within=1e-2 if case == "bf16" else 1e-4)


def test_dropout_in_a_graph_draws_what_it_draws_otherwise(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = {"name": "helpers.odd_networks:Dropped"}
    with caplog.at_level(logging.WARNING, "fedlab"):
        plain, replayed = (run(each, tmp_path, model=model) for each in ("sequential", "graph"))
    assert not [said for said in caplog.messages if "without" in said]
    assert_same(plain, replayed, within=1e-4)


def test_two_runs_by_graphs_have_the_same_bytes(tmp_path: Path) -> None:
    runs = [run("graph", tmp_path / str(number)).model_state() for number in range(2)]
    assert all(torch.equal(tensor, runs[1][name]) for name, tensor in runs[0].items())


def test_a_graph_is_captured_once_for_each_shape_and_replays_allocate_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    captured = []
    capture = cuda_graphs.CUDAGraphs.capture

    def counted(self: Any, step: Any, tensors: Any) -> Any:
        captured.append(len(tensors))
        return capture(self, step, tensors)

    monkeypatch.setattr(cuda_graphs.CUDAGraphs, "capture", counted)
    wanted = toy.scenario(
        model=MODELS["cnn-batch"],
        training={"batch_size": 16, "local_epochs": 4, "optimizer": {"lr": 0.05}},
        engine={"execution": "graph"},
    )
    prepared, device = prepare(wanted), torch.device("cuda")
    runtime = Runtime(wanted, prepared.data, prepared.partition, device)
    state = {name: t.to(device) for name, t in prepared.model.state_dict().items()}
    received = Received({"arrays": state}, {"server-round": 1})
    for client in range(3):
        runtime.train(client, received, {})
    before = torch.cuda.memory_stats()["allocated_bytes.all.current"]
    for client in range(3):
        runtime.train(client, received, {})
    assert len(captured) == 2  # full batches and the rest of a pass
    assert torch.cuda.memory_stats()["allocated_bytes.all.current"] == before


@pytest.mark.parametrize("case", ["fedavg", "scaffold", "fedbn-adam", "clip"])
def test_compiled_steps_have_the_numbers_of_one_operation_after_the_other(
    case: str, tmp_path: Path
) -> None:
    if lacks := missing(torch.device("cuda")):
        pytest.skip(lacks)
    changes = {"rounds": 1} | CAPTURED[case]
    plain, compiled = (run(each, tmp_path, **changes) for each in ("sequential", "compile"))
    assert_same(plain, compiled, within=1e-4)
