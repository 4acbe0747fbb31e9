"""A convolutional network for series.

Wang, Yan and Oates, "Time Series Classification from Scratch with Deep Neural Networks: A Strong
Baseline", IJCNN 2017, arXiv 1611.06455: the fully convolutional network of section II-B.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

from pydantic import PositiveInt
from torch import nn

from fedlab.models.input_shape import series_shape
from fedlab.models.spec import ModelSpec

KERNELS = (8, 5, 3)
"""Lengths of the paper's kernels, one a block."""


class CNN1d(ModelSpec):
    """Three convolutions over time, batch-normalised; their mean over time; one dense layer.

    The paper's widths are 128, 256 and 128. Nothing of it depends on the length of a series. About
    26 thousand parameters for three channels and six classes.

    Attributes:
        widths: Channels of the three blocks.
    """

    name: Literal["cnn1d"] = "cnn1d"
    widths: tuple[PositiveInt, PositiveInt, PositiveInt] = (32, 64, 64)

    def network(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """The network; it keeps the length up to its mean.

        Raises:
            InputError: If samples are not series (channels, length).
        """
        channels, _ = series_shape(self.name, input_shape)
        blocks: list[nn.Module] = []
        for (narrow, wide), kernel in zip(pairwise((channels, *self.widths)), KERNELS, strict=True):
            blocks += [
                nn.ZeroPad1d(((kernel - 1) // 2, kernel // 2)),
                nn.Conv1d(narrow, wide, kernel, bias=False),
                nn.BatchNorm1d(wide),
                nn.ReLU(),
            ]
        return nn.Sequential(
            *blocks, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(self.widths[-1], classes)
        )
