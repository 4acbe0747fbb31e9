"""A convolutional network for volumes, such as those of computed tomography, on a CPU."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

from pydantic import PositiveInt
from torch import nn

from fedlab.models.input_shape import volume_shape
from fedlab.models.spec import ModelSpec


class CNN3d(ModelSpec):
    """Blocks of convolution 3x3x3, batch normalisation and pooling; their mean; one dense layer.

    `SmallCNN` with a further axis. About 18 thousand parameters for one channel and two classes.

    Attributes:
        widths: Channels of the blocks, each of which halves the volume.
    """

    name: Literal["cnn3d"] = "cnn3d"
    widths: tuple[PositiveInt, ...] = (8, 16, 32)

    def network(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """The network.

        Raises:
            InputError: If samples are not volumes (channels, depth, height, width), or an axis is
                too short to be halved by every block.
        """
        smallest = 2 ** len(self.widths)
        channels, *_ = volume_shape(self.name, input_shape, smallest=smallest)
        blocks: list[nn.Module] = []
        for narrow, wide in pairwise((channels, *self.widths)):
            blocks += [
                nn.Conv3d(narrow, wide, kernel_size=3, padding=1, bias=False),
                nn.BatchNorm3d(wide),
                nn.ReLU(),
                nn.MaxPool3d(2),
            ]
        width = self.widths[-1] if self.widths else channels
        return nn.Sequential(
            *blocks, nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(width, classes)
        )
