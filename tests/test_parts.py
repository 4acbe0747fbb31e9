"""Networks as rows of parts."""

from __future__ import annotations

from typing import Any

import pytest
from torch import nn

from fedlab.models.alexnet import AlexNet
from fedlab.models.blocks import last_parts, parts
from fedlab.models.dense import MLP, Linear
from fedlab.models.digits_cnn import DigitsCNN
from fedlab.models.mobilenet import MobileNetV2
from fedlab.models.resnet import ResNet18, ResNet20
from fedlab.models.small_cnn import SmallCNN


@pytest.mark.parametrize(
    ("spec", "number", "last"),
    [
        (Linear(), 1, ["1.weight", "1.bias"]),
        (MLP(hidden=(8, 8)), 3, ["5.weight", "5.bias"]),
        (SmallCNN(), 4, ["14.weight", "14.bias"]),
        (DigitsCNN(), 6, ["fc3.weight", "fc3.bias"]),
        (AlexNet(), 8, None),
        (ResNet20(), 1 + 9 + 1, ["fc.weight", "fc.bias"]),
        (ResNet18(), 1 + 8 + 1, ["fc.weight", "fc.bias"]),
        (MobileNetV2(), 1 + 17 + 1 + 1, ["classifier.1.weight", "classifier.1.bias"]),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_the_parts_of_a_network(spec: Any, number: int, last: list[str] | None) -> None:
    model = spec.network((3, 64, 64), 10)
    found = parts(model)
    assert len(found) == number
    assert [name for part in found for name in part] == list(model.state_dict())
    if last is not None:
        assert list(last_parts(model, 1)) == last


def test_normalisation_goes_with_the_layer_before_it_and_blocks_are_not_torn_apart() -> None:
    model = SmallCNN().network((3, 8, 8), 4)
    second = [f"5.{name}" for name in model.get_submodule("5").state_dict()]
    assert parts(model)[1] == ("4.weight", *second)
    residual = ResNet18().network((3, 32, 32), 4)
    block = [f"layer4.1.{name}" for name in residual.get_submodule("layer4.1").state_dict()]
    assert list(last_parts(residual, 2)) == [*block, "fc.weight", "fc.bias"]
    assert last_parts(model, 0) == ()
    assert set(last_parts(model, 9)) == set(model.state_dict())
    assert parts(nn.Linear(2, 3)) == [("weight", "bias")]
    assert parts(nn.ReLU()) == []
