"""The reference loop of the documents is what a simulation computes."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import fedlab
from helpers import documents

PLAIN = ["data.normalisation={mean: 0.5, std: 0.25}", "model.norm=none", "resources.backend=local"]
SEQUENTIAL = "engine={execution: sequential, dense_layers: dense}"


@pytest.fixture(scope="module")
def fedavg(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, torch.Tensor]]:
    """The function that the page defines, as it stands there."""
    (loop, *_) = documents.blocks("docs/fedavg_in_60_lines.md")
    assert len(loop.text.splitlines()) <= 60
    file = tmp_path_factory.mktemp("loop") / "fedavg_loop.py"
    file.write_text(loop.text)
    return runpy.run_path(str(file))["fedavg"]


def server_of(folder: Path, overrides: list[str], **fields: Any) -> dict[str, torch.Tensor]:
    """The model that a simulation ends with."""
    run = fedlab.simulate("smoke", overrides, out=folder, progress=False, **fields)
    return dict(run.model().network.state_dict())


CASES = [
    [],
    ["rounds=3", "training.local_epochs=2", "training.batch_size=7"],
    ["model=mlp", "model.hidden=[16]", "participation.fraction=0.7", "seed=3"],
    ["model=mlp", "partition={clients: 7, domains: mixed}", "training.local_epochs=3"],
    ["partition={clients: 5, domains: mixed, labels: {name: dirichlet, alpha: 0.3}}"],
]


@pytest.mark.slow_for(
    "rounds=3 training.local_epochs=2 training.batch_size=7",
    "partition={clients: 5, domains: mixed, labels: {name: dirichlet, alpha: 0.3}}",
)
@pytest.mark.parametrize("overrides", CASES, ids=lambda case: " ".join(case) or "as it is")
def test_the_loop_is_the_engine(fedavg: Callable, overrides: list[str], tmp_path: Path) -> None:
    base = [each for each in PLAIN if not ("model=mlp" in overrides and each == "model.norm=none")]
    expected = fedavg("smoke", [*base, *overrides])
    found = server_of(tmp_path / "run", [*base, SEQUENTIAL, *overrides])
    tensors = [found[name] for name in found if "mean" not in name and "std" not in name]
    assert len(tensors) == len(expected)
    for (name, tensor), ours in zip(expected.items(), tensors, strict=True):
        if "model=mlp" in overrides:
            assert torch.equal(tensor, ours), f"{name}: {(tensor - ours).abs().max()}"
        else:  # a processor may have another convolution for gradients in another memory order
            torch.testing.assert_close(tensor, ours, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("execution", ["vmap", "auto"])
def test_stacks_and_low_rank_forms_are_the_loop_to_rounding(
    fedavg: Callable, execution: str, tmp_path: Path
) -> None:
    overrides = [*PLAIN[:1], PLAIN[2], "model=mlp", f"engine.execution={execution}"]
    expected = fedavg("smoke", overrides)
    found = server_of(tmp_path / "run", overrides)
    tensors = [found[name] for name in found if "mean" not in name and "std" not in name]
    for tensor, ours in zip(expected.values(), tensors, strict=True):
        torch.testing.assert_close(tensor, ours, rtol=1e-4, atol=1e-6)
