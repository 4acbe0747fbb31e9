"""MobileNetV2.

Sandler, Howard, Zhu, Zhmoginov and Chen, "MobileNetV2: Inverted Residuals and Linear Bottlenecks",
CVPR 2018, arXiv 1801.04381.
"""

from __future__ import annotations

from typing import Literal

from torch import nn
from torchvision.models import mobilenet_v2

from fedlab.models.input_shape import Stem, image_shape, stem_for
from fedlab.models.spec import ModelSpec

STAGES = [
    # expansion, channels, blocks, stride: Table 2 of the paper
    [1, 16, 1, 1],
    [6, 24, 2, 2],
    [6, 32, 3, 2],
    [6, 64, 4, 2],
    [6, 96, 3, 1],
    [6, 160, 3, 2],
    [6, 320, 1, 1],
]


class MobileNetV2(ModelSpec):
    """torchvision's MobileNetV2.

    Attributes:
        stem: ``imagenet`` halves the image in the first convolution and in the second stage, as
            in the paper; ``cifar`` in neither. By default ``cifar`` up to 64 pixels a side.
    """

    name: Literal["mobilenet_v2"] = "mobilenet_v2"
    stem: Stem | None = None

    def network(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """The network.

        Raises:
            InputError: If samples are not images.
        """
        channels, height, width = image_shape(self.name, input_shape)
        stages, stride = [list(stage) for stage in STAGES], 2
        if stem_for(self.stem, height, width) == "cifar":
            stages[1][-1] = stride = 1
        model = mobilenet_v2(num_classes=classes, inverted_residual_setting=stages)
        first = nn.Conv2d(channels, 32, kernel_size=3, stride=stride, padding=1, bias=False)
        nn.init.kaiming_normal_(first.weight, mode="fan_out")  # as torchvision does
        model.set_submodule("features.0.0", first)
        return model
