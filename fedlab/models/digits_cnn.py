"""The network of the Digits-Five benchmark.

Li, Jiang, Zhang, Kamp and Dou, "FedBN: Federated Learning on Non-IID Features via Local Batch
Normalization", ICLR 2021, arXiv 2102.07623.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Literal

from torch import nn

from fedlab.models.input_shape import image_shape
from fedlab.models.spec import ModelSpec


class DigitsCNN(ModelSpec):
    """Three convolutions 5x5 and three dense layers, each but the last batch-normalised.

    14,219,210 parameters for 28x28 images in colour and ten classes. The first dense layer grows
    with the image.
    """

    name: Literal["digits_cnn"] = "digits_cnn"

    def network(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """The network.

        Raises:
            InputError: If samples are not images of at least 4x4 pixels.
        """
        channels, height, width = image_shape(self.name, input_shape, smallest=4)
        return nn.Sequential(
            OrderedDict(
                conv1=nn.Conv2d(channels, 64, kernel_size=5, padding=2),
                bn1=nn.BatchNorm2d(64),
                relu1=nn.ReLU(),
                pool1=nn.MaxPool2d(2),
                conv2=nn.Conv2d(64, 64, kernel_size=5, padding=2),
                bn2=nn.BatchNorm2d(64),
                relu2=nn.ReLU(),
                pool2=nn.MaxPool2d(2),
                conv3=nn.Conv2d(64, 128, kernel_size=5, padding=2),
                bn3=nn.BatchNorm2d(128),
                relu3=nn.ReLU(),
                flatten=nn.Flatten(),
                fc1=nn.Linear(128 * (height // 4) * (width // 4), 2048),
                bn4=nn.BatchNorm1d(2048),
                relu4=nn.ReLU(),
                fc2=nn.Linear(2048, 512),
                bn5=nn.BatchNorm1d(512),
                relu5=nn.ReLU(),
                fc3=nn.Linear(512, classes),
            )
        )
