"""Images reach networks in the memory format in which convolutions are fastest."""

import pytest
import torch
from torch import nn

from fedlab.models.memory_format import channels_last, channels_last_gradients


def network(channels: int) -> nn.Sequential:
    """Two convolutions whose weights lie as a message brings them."""
    torch.manual_seed(0)
    layers = (nn.Conv2d(channels, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.MaxPool2d(2))
    return nn.Sequential(*layers)


def formats(model: nn.Sequential, images: torch.Tensor) -> list[bool]:
    """For the output of each layer and its gradient, whether channels are innermost."""
    innermost: list[bool] = []
    outputs = images
    with channels_last_gradients(model):
        for layer in model:
            outputs = layer(outputs)
            innermost.append(outputs.stride(1) == 1)
            outputs.register_hook(lambda gradient: innermost.append(gradient.stride(1) == 1))
        outputs.square().sum().backward()
    return innermost


@pytest.mark.parametrize("channels", [1, 3])
def test_a_network_keeps_one_format_for_images_of_one_channel_and_of_three(channels: int) -> None:
    images = channels_last(torch.randn(5, channels, 12, 12))
    assert formats(network(channels), images) == [True] * 8


@pytest.mark.parametrize("channels", [1, 3])
def test_values_and_shape_stay(channels: int) -> None:
    images = torch.randn(5, 12, 12, channels).permute(0, 3, 2, 1)
    assert torch.equal(channels_last(images), images)


@pytest.mark.parametrize("shape", [(4, 6), (4, 1, 6), (2, 1, 3, 4, 4)])
def test_what_is_no_image_is_unchanged(shape: tuple[int, ...]) -> None:
    tensor = torch.randn(shape)
    assert channels_last(tensor) is tensor
