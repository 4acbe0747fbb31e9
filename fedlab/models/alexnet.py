"""AlexNet with batch normalisation, the network of Office-Caltech-10 and DomainNet in FedBN.

Li, Jiang, Zhang, Kamp and Dou, "FedBN: Federated Learning on Non-IID Features via Local Batch
Normalization", ICLR 2021, arXiv 2102.07623.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Literal

from pydantic import PositiveInt
from torch import nn

from fedlab.models.input_shape import image_shape
from fedlab.models.spec import ModelSpec

SMALLEST = 63
"""Least height and width that the stem's stride and three poolings leave a pixel of."""


class AlexNet(ModelSpec):
    """Five convolutions and three dense layers, each but the last batch-normalised; no dropout.

    Drawn for images of 256x256 pixels; an adaptive pooling before the dense layers takes others.

    Attributes:
        dense: Width of the dense layers. Of 57 million parameters they have 55 by default; with 512
            they have 5, which suits small images and machines.
    """

    name: Literal["alexnet"] = "alexnet"
    dense: PositiveInt = 4096

    def network(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """The network.

        Raises:
            InputError: If samples are not images of at least 63x63 pixels.
        """
        channels, _, _ = image_shape(self.name, input_shape, SMALLEST)
        return nn.Sequential(
            OrderedDict(
                conv1=nn.Conv2d(channels, 64, kernel_size=11, stride=4, padding=2),
                bn1=nn.BatchNorm2d(64),
                relu1=nn.ReLU(),
                pool1=nn.MaxPool2d(3, stride=2),
                conv2=nn.Conv2d(64, 192, kernel_size=5, padding=2),
                bn2=nn.BatchNorm2d(192),
                relu2=nn.ReLU(),
                pool2=nn.MaxPool2d(3, stride=2),
                conv3=nn.Conv2d(192, 384, kernel_size=3, padding=1),
                bn3=nn.BatchNorm2d(384),
                relu3=nn.ReLU(),
                conv4=nn.Conv2d(384, 256, kernel_size=3, padding=1),
                bn4=nn.BatchNorm2d(256),
                relu4=nn.ReLU(),
                conv5=nn.Conv2d(256, 256, kernel_size=3, padding=1),
                bn5=nn.BatchNorm2d(256),
                relu5=nn.ReLU(),
                pool5=nn.MaxPool2d(3, stride=2),
                average=nn.AdaptiveAvgPool2d((6, 6)),
                flatten=nn.Flatten(),
                fc1=nn.Linear(256 * 6 * 6, self.dense),
                bn6=nn.BatchNorm1d(self.dense),
                relu6=nn.ReLU(),
                fc2=nn.Linear(self.dense, self.dense),
                bn7=nn.BatchNorm1d(self.dense),
                relu7=nn.ReLU(),
                fc3=nn.Linear(self.dense, classes),
            )
        )
