"""Rectifiers behind pooling: the same bits, by fewer reads."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fedlab.models.memory_format import channels_last_gradients
from fedlab.models.pooled_rectifiers import rectifiers_after_pooling

BLOCKS: dict[str, Callable[[], nn.Module]] = {
    "windows": lambda: nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.MaxPool2d(2)),
    "overlapping": lambda: nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.MaxPool2d(3, stride=2)),
    "padded": lambda: nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.MaxPool2d(3, 1, padding=1)),
    "dilated": lambda: nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.MaxPool2d(2, dilation=2)),
    "rounded up": lambda: nn.Sequential(
        nn.Conv2d(2, 3, 2), nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True)
    ),
    "in place": lambda: nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(inplace=True), nn.MaxPool2d(2)),
    "normalised": lambda: nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(3, 2, 2)
    ),
    "twice": lambda: nn.Sequential(
        nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.MaxPool2d(2)),
        nn.Sequential(nn.ReLU(), nn.MaxPool2d(2), nn.MaxPool2d(2, 1), nn.ReLU()),
    ),
}


def passed(model: nn.Module, inputs: Tensor) -> list[Tensor]:
    """The output, and the gradients by the parameters and the input."""
    inputs = inputs.clone().requires_grad_()
    outputs = model(inputs)
    weights = torch.linspace(-1, 1, outputs.numel()).view_as(outputs)
    return [outputs, *torch.autograd.grad((outputs * weights).sum(), [*model.parameters(), inputs])]


@pytest.mark.parametrize("whole", [False, True], ids=["noise", "ties"])
@pytest.mark.parametrize("name", list(BLOCKS))
def test_outputs_and_gradients_are_the_same_to_the_bit(name: str, whole: bool) -> None:
    torch.manual_seed(0)
    model, inputs = BLOCKS[name](), torch.randn(4, 2, 12, 12)
    if whole:  # many equal maxima, and windows without a positive value
        inputs = (2 * inputs).round()
        for parameter in model.parameters():
            parameter.data = (2 * parameter.data).round()
    plain = passed(copy.deepcopy(model), inputs)
    with rectifiers_after_pooling(model):
        pooled = passed(model, inputs)
    for one, other in zip(plain, pooled, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("pooling", "shape"), [(nn.MaxPool1d(2), (3, 2, 8)), (nn.MaxPool3d(2), (3, 2, 4, 4, 4))]
)
def test_in_one_and_three_dimensions(pooling: nn.Module, shape: tuple[int, ...]) -> None:
    model, inputs = nn.Sequential(nn.ReLU(), pooling), torch.randn(shape)
    plain = passed(model, inputs)
    with rectifiers_after_pooling(model):
        assert all(map(torch.equal, plain, passed(model, inputs)))


@pytest.mark.parametrize("padding", [0, 1])
def test_with_gradients_in_another_memory_format(padding: int) -> None:
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.MaxPool2d(2, padding=padding))
    inputs = torch.randn(4, 2, 12, 12)
    plain = passed(model, inputs)
    with rectifiers_after_pooling(model), channels_last_gradients(model):
        assert all(map(torch.equal, plain, passed(model, inputs)))
        assert rectified(model) == 3 * (3 + padding) ** 2


def test_windows_of_padding_alone_keep_their_value() -> None:
    model = nn.Sequential(nn.ReLU(), nn.MaxPool2d(2, stride=1, padding=1, dilation=4))
    inputs = torch.randn(1, 1, 3, 3)
    plain = model(inputs)
    assert plain.isinf().any()
    with rectifiers_after_pooling(model):
        assert torch.equal(model(inputs), plain)


def rectified(model: nn.Module) -> int:
    """Number of values that the network's rectifiers read."""
    seen = []

    class Seen(torch.overrides.TorchFunctionMode):
        def __torch_function__(
            self, function: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            if function is nn.functional.relu:
                seen.append(args[0].numel())
            return function(*args, **(kwargs or {}))

    with rectifiers_after_pooling(model), Seen():
        model(torch.randn(1, 2, 8, 8))
    return sum(seen)


def test_a_rectifier_reads_the_pooled_values_within_the_context_alone() -> None:
    model = nn.Sequential(nn.ReLU(), nn.MaxPool2d(2))
    assert rectified(model) == 2 * 4 * 4
    order = []
    for layer in model:
        layer.register_forward_hook(lambda module, *_: order.append(type(module)))
    model(torch.randn(1, 2, 8, 8))
    assert order == [nn.ReLU, nn.MaxPool2d]
    assert "forward" not in vars(model)


class Own(nn.Sequential):
    """A block that reads what is between its layers."""

    def forward(self, inputs: Tensor) -> Tensor:
        between = self[0](inputs)
        return self[1](between) + between.mean()


class Indexed(nn.Module):
    """A network that calls the layers of a block by themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.ReLU(), nn.MaxPool2d(2))

    def forward(self, inputs: Tensor) -> Tensor:
        between = self.block[0](inputs)
        return self.block[1](between) + between.mean()


class Counted(nn.ReLU):
    """A class of its own, which may do more than rectify."""

    def forward(self, input: Tensor) -> Tensor:
        return nn.functional.relu(input)


class Skip(nn.Module):
    """A network that reads what a rectifier has written to."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.ReLU(inplace=True), nn.MaxPool2d(2))

    def forward(self, inputs: Tensor) -> Tensor:
        before = 1 * inputs
        return self.block(before).mean() + before


class HookInForward(nn.Module):
    """A network that listens to a layer during its pass."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.ReLU(), nn.MaxPool2d(2))

    def forward(self, inputs: Tensor) -> Tensor:
        heard = []
        hook = self.block[0].register_forward_hook(lambda *each: heard.append(each[2].mean()))
        outputs = self.block(inputs)
        hook.remove()
        return outputs + heard[0]


class Exchanged(nn.Module):
    """A network that exchanges a layer during its pass."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.ReLU(), nn.MaxPool2d(2))

    def forward(self, inputs: Tensor) -> Tensor:
        self.block[1] = nn.AvgPool2d(2)
        return self.block(inputs)


def patched(place: int | None) -> nn.Module:
    """A block of which one layer, or itself, has a forward pass of its own."""
    block = nn.Sequential(nn.ReLU(), nn.MaxPool2d(2))
    part = block if place is None else block[place]
    part.forward = lambda inputs: nn.functional.avg_pool2d(nn.functional.relu(inputs), 2)
    return block


@pytest.mark.parametrize(
    "model",
    [
        Own(nn.ReLU(), nn.MaxPool2d(2)),
        Indexed(),
        nn.Sequential(Counted(), nn.MaxPool2d(2)),
        Skip(),
        HookInForward(),
        Exchanged(),
        patched(None),
        patched(1),
        nn.Sequential(nn.ReLU(), nn.AvgPool2d(2)),
        nn.Sequential(nn.ReLU(), nn.Flatten(), nn.MaxPool1d(2)),
    ],
    ids=lambda model: type(model).__name__,
)
def test_what_could_tell_the_order_is_left_alone(model: nn.Module) -> None:
    inputs = torch.randn(1, 2, 8, 8)
    before = model(inputs)
    with rectifiers_after_pooling(model):
        assert torch.equal(model(inputs), before)
    assert torch.equal(model(inputs), before)


@pytest.mark.parametrize("place", [0, 1])
def test_layers_with_hooks_are_left_alone(place: int) -> None:
    model = nn.Sequential(nn.ReLU(), nn.MaxPool2d(2))
    shapes = []
    model[place].register_forward_hook(lambda _, inputs, __: shapes.append(inputs[0].shape[-1]))
    with rectifiers_after_pooling(model):
        model(torch.randn(1, 2, 8, 8))
    assert shapes == [8]


def test_an_error_leaves_the_network_as_it_was() -> None:
    model = nn.Sequential(nn.ReLU(), nn.MaxPool2d(2))
    with pytest.raises(KeyError), rectifiers_after_pooling(model):
        raise KeyError
    assert "forward" not in vars(model)
