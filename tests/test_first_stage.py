"""The first stage of networks: where it ends, and what is refused a place."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fedlab.config import registry
from fedlab.models.anatomy import study
from fedlab.models.first_stage import find_first_stage
from fedlab.models.spec import ModelSpec


def studied(model: nn.Module, side: int = 8) -> nn.Module:
    return study(model, torch.randn(2, 3, side, side))


@pytest.mark.slow_except(
    "resnet20-8-stage1.2-16", "small_cnn-8-3-32", "mobilenet_v2-32-features.1-16"
)
@pytest.mark.parametrize(
    ("name", "side", "path", "channels"),
    [
        ("resnet10", 8, "layer1.0", 64),
        ("resnet18", 96, "layer1.1", 64),
        ("resnet20", 8, "stage1.2", 16),
        ("small_cnn", 8, "3", 32),
        ("digits_cnn", 8, "pool1", 64),
        ("alexnet", 63, "pool1", 64),
        ("mobilenet_v2", 32, "features.1", 16),
        ("efficientnet_lite0", 32, "_blocks.0", 16),
    ],
)
def test_the_first_stage_of_shipped_networks(
    name: str, side: int, path: str, channels: int
) -> None:
    spec = registry.resolve("models", name)()
    assert isinstance(spec, ModelSpec)
    stage = find_first_stage(studied(spec.network((3, side, side), 4), side))
    assert stage is not None
    assert (stage.path, stage.channels, stage.untrained) == (path, channels, True)


class Wrapped(nn.Module):
    """A body within an attribute; its ReLU is called twice."""

    def __init__(self, *body: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(*body)
        self.relu = nn.ReLU()
        self.fc = nn.Linear(4, 2)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.relu(self.relu(self.body(images)).mean(dim=(2, 3))))


def test_a_body_is_no_stage_and_neither_is_what_is_called_twice() -> None:
    model = Wrapped(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4), nn.Conv2d(4, 4, 3))
    stage = find_first_stage(studied(model))
    assert stage is not None
    assert (stage.path, stage.untrained) == ("body.1", False)
    single = find_first_stage(studied(Wrapped(nn.Conv2d(3, 4, 3))))
    assert single is not None
    assert single.path in ("body", "body.0")


def test_running_statistics_are_of_training_where_they_have_moved() -> None:
    model = Wrapped(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4))
    statistics = model.body[1].running_mean
    assert isinstance(statistics, Tensor)
    statistics.fill_(0.5)
    stage = find_first_stage(studied(model))
    assert stage is not None
    assert not stage.untrained  # those of the second layer are behind the stage


@pytest.mark.parametrize(
    "layers",
    [
        [nn.Flatten(), nn.Linear(192, 2)],
        [nn.Conv2d(3, 4, 8), nn.ReLU(), nn.Flatten(), nn.Linear(4, 2)],
        [nn.Flatten(start_dim=2), nn.Conv1d(3, 4, 1), nn.Flatten(), nn.Linear(256, 2)],
    ],
    ids=["dense", "one pixel", "1d"],
)
def test_networks_without_maps_have_none(layers: list[Any]) -> None:
    assert find_first_stage(studied(nn.Sequential(*layers))) is None
    pooled = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    stage = find_first_stage(studied(pooled))
    assert stage is not None
    assert stage.path == "0"  # what is pooled to one pixel has no deviation


def test_what_is_changed_is_read_by_the_layers_behind() -> None:
    model = studied(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 6), nn.Flatten()))
    stage = find_first_stage(model)
    assert stage is not None
    images = torch.randn(2, 3, 8, 8)
    with stage.changed(lambda maps: maps + 1):
        inside = model(images)
    torch.testing.assert_close(inside, model[1:](model[0](images) + 1))  # type: ignore[index]
    torch.testing.assert_close(model(images), model[1:](model[0](images)))  # type: ignore[index]
