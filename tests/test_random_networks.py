"""Networks out of a grammar: a round of FedAvg is that of plain PyTorch, or is refused."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint

import fedlab
from fedlab.errors import InputError
from fedlab.scenario_file import load_scenario
from helpers import toy
from helpers.plain_pytorch import round_of_fedavg

WAYS = (
    "engine={execution: sequential, dense_layers: dense}",
    "engine={execution: vmap, dense_layers: dense}",
    "engine={execution: vmap, dense_layers: low_rank}",
    "engine={execution: sequential, dense_layers: low_rank}",
)
WIDTH = 6
FEW = 20
MANY = int(os.environ.get("FEDLAB_NETWORKS", "150"))
"""Networks of the fast and of all tests together; the more, the rarer what is found."""


class Again(nn.Module):
    """Computes a module again in the backward pass."""

    def __init__(self, inner: nn.Module, reentrant: bool) -> None:
        super().__init__()
        self.inner, self.reentrant = inner, reentrant

    def forward(self, x: Tensor) -> Tensor:
        return checkpoint(self.inner, x, use_reentrant=self.reentrant)  # type: ignore[return-value]


class Residual(nn.Module):
    """Adds what went in."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return x + self.inner(x)


def drawn(input_shape: tuple[int, ...], num_classes: int, key: int = 0) -> nn.Module:
    """A network of up to five layers, some of them odd."""
    chance = random.Random(key)
    size = input_shape[0] * input_shape[1] * input_shape[2]
    layers: list[nn.Module] = [nn.Flatten(), nn.Linear(size, WIDTH)]
    for _ in range(chance.randint(0, 4)):
        dense = nn.Linear(WIDTH, WIDTH, bias=chance.random() < 0.7)
        kinds = ("plain", "frozen", "tied", "again", "norm", "weight", "residual", "hook", "shared")
        kind = chance.choice(kinds)
        layer: nn.Module = dense
        if kind == "frozen":
            dense.requires_grad_(False)
        elif kind == "tied" and isinstance(layers[-1], nn.Linear) and len(layers) > 2:
            dense.weight = layers[-1].weight
        elif kind == "again":
            layer = Again(nn.Sequential(dense, nn.Tanh()), chance.random() < 0.3)
        elif kind == "norm":
            layer = chance.choice((nn.BatchNorm1d(WIDTH), nn.LayerNorm(WIDTH)))
        elif kind == "weight":
            layer = parametrizations.weight_norm(dense)
        elif kind == "residual":
            layer = Residual(nn.Sequential(dense, nn.GELU()))
        elif kind == "hook":
            dense.weight.register_hook(lambda gradient: gradient.clamp(-0.01, 0.01))
        elif kind == "shared" and len(layers) > 2:
            layer = chance.choice(layers[2:])
        layers += [layer, chance.choice((nn.Tanh(), nn.GELU(), nn.Identity()))]
    return nn.Sequential(*layers, nn.Linear(WIDTH, num_classes))


def check(key: int, folder: Path) -> None:
    """A round of one client, and of two that may be stacked."""
    way = WAYS[key % len(WAYS)]
    clients = 1 + key // len(WAYS) % 2
    source = {"name": "helpers.toy:Stripes", "domains": clients, "train": 12, "test": 4}
    chosen = load_scenario(
        toy.scenario(
            data={"sources": [source], "image_size": 4},
            partition={"clients": clients},
            rounds=1,
            evaluation={"fraction": 0},
            training={
                "batch_size": "full",
                "local_steps": 3,
                "optimizer": {"lr": 0.1, "momentum": 0.5, "weight_decay": 0.01},
            },
        ),
        [way],
        model={"name": "test_random_networks:drawn", "key": key},
    )
    try:
        run = fedlab.simulate(chosen, out=folder / f"{key}", progress=False)
    except InputError as error:
        assert "plain PyTorch" in str(error) or "training step" in str(error)  # noqa: PT017
        return
    got, wanted = run.model_state(), round_of_fedavg(chosen)
    assert got.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(got[name], value, atol=1e-5, rtol=1e-4, msg=f"{key}: {name}")


@pytest.mark.slow_except("0", "1", "3", "7", "8", "18")
@pytest.mark.parametrize("key", range(FEW))
def test_a_network_learns_as_in_plain_pytorch(key: int, tmp_path: Path) -> None:
    check(key, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(2))  # of two processes each has a part
def test_many_networks_learn_as_in_plain_pytorch(part: int, tmp_path: Path) -> None:
    for key in range(FEW + part, MANY, 2):
        check(key, tmp_path)
