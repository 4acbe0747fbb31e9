"""A convolutional network for quick experiments on a CPU."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

from pydantic import PositiveInt
from torch import nn

from fedlab.models.input_shape import image_shape
from fedlab.models.spec import ModelSpec

LARGEST_MAP = 4
"""Side of the feature maps that the dense layer reads; larger ones are averaged down to it."""


class SmallCNN(ModelSpec):
    """Blocks of convolution 3x3, batch normalisation and pooling, then one dense layer.

    About 84 thousand parameters for 28x28 images in colour and ten classes.

    Attributes:
        widths: Channels of the three blocks.
    """

    name: Literal["small_cnn"] = "small_cnn"
    widths: tuple[PositiveInt, PositiveInt, PositiveInt] = (32, 64, 96)

    def network(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """The network; each block halves the image.

        Raises:
            InputError: If samples are not images of at least 8x8 pixels.
        """
        scale = 2 ** len(self.widths)
        channels, height, width = image_shape(self.name, input_shape, smallest=scale)
        blocks: list[nn.Module] = []
        for narrow, wide in pairwise((channels, *self.widths)):
            blocks += [
                nn.Conv2d(narrow, wide, kernel_size=3, padding=1, bias=False),
                nn.BatchNorm2d(wide),
                nn.ReLU(),
                nn.MaxPool2d(2),
            ]
        rows, columns = min(LARGEST_MAP, height // scale), min(LARGEST_MAP, width // scale)
        return nn.Sequential(
            *blocks,
            nn.AdaptiveAvgPool2d((rows, columns)),
            nn.Flatten(),
            nn.Linear(self.widths[-1] * rows * columns, classes),
        )
