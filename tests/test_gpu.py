"""What needs a CUDA device: run with ``pytest -m gpu`` on a machine that has one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fedlab.simulation import simulate
from helpers import toy

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
