"""Residual networks.

He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition", CVPR 2016,
arXiv 1512.03385: ResNet-18 of its ImageNet experiments and ResNet-20 of its CIFAR-10 experiments.
ResNet-10 is that of federated domain skew: FPL's authors' code (WenkeHuang/RethinkFL).
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Literal

from torch import Tensor, nn
from torchvision.models import ResNet, resnet18
from torchvision.models.resnet import BasicBlock

from fedlab.models.input_shape import Stem, image_shape, stem_for
from fedlab.models.spec import ModelSpec


class ResNet18(ModelSpec):
    """torchvision's ResNet-18.

    Attributes:
        stem: ``imagenet`` is a convolution 7x7 of stride 2 and a pooling; ``cifar`` a convolution
            3x3 that keeps the resolution. By default ``cifar`` up to 64 pixels a side.
    """

    name: Literal["resnet18"] = "resnet18"
    stem: Stem | None = None

    def network(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """The network.

        Raises:
            InputError: If samples are not images.
        """
        channels, height, width = image_shape(self.name, input_shape)
        model = resnet18(num_classes=classes)
        if stem_for(self.stem, height, width) == "cifar":
            model.conv1 = nn.Conv2d(channels, 64, kernel_size=3, padding=1, bias=False)
            model.set_submodule("maxpool", nn.Identity())
        else:
            model.conv1 = nn.Conv2d(channels, 64, kernel_size=7, stride=2, padding=3, bias=False)
        _initialise(model.conv1)
        return model


class ResNet10(ModelSpec):
    """Four stages of one block, 64 to 512 channels wide, on images at full resolution.

    The stem is a convolution 3x3 of stride 1 without pooling for images of any size, and
    weights are drawn as PyTorch draws those of layers by default. FPL's code has two dense layers
    beside it that nothing reads; they are left out.
    """

    name: Literal["resnet10"] = "resnet10"

    def network(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """The network: 4,903,242 parameters for images in colour and ten classes.

        Raises:
            InputError: If samples are not images.
        """
        channels, _, _ = image_shape(self.name, input_shape)
        model = ResNet(BasicBlock, [1, 1, 1, 1], num_classes=classes)
        model.conv1 = nn.Conv2d(channels, 64, kernel_size=3, padding=1, bias=False)
        model.set_submodule("maxpool", nn.Identity())
        for module in model.modules():
            if isinstance(module, nn.Conv2d):
                module.reset_parameters()
        return model


class ResNet20(ModelSpec):
    """The 20-layer network for CIFAR-10: three stages of three blocks, shortcuts of option A."""

    name: Literal["resnet20"] = "resnet20"

    def network(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """The network: 269,722 parameters for images in colour and ten classes.

        Raises:
            InputError: If samples are not images.
        """
        channels, _, _ = image_shape(self.name, input_shape)
        model = nn.Sequential(
            OrderedDict(
                conv1=nn.Conv2d(channels, 16, kernel_size=3, padding=1, bias=False),
                bn1=nn.BatchNorm2d(16),
                relu=nn.ReLU(),
                stage1=_stage(16, 16, stride=1),
                stage2=_stage(16, 32, stride=2),
                stage3=_stage(32, 64, stride=2),
                average=nn.AdaptiveAvgPool2d(1),
                flatten=nn.Flatten(),
                fc=nn.Linear(64, classes),
            )
        )
        for module in model.modules():
            if isinstance(module, nn.Conv2d):
                _initialise(module)
        return model


class PaddedShortcut(nn.Module):
    """A shortcut without parameters: every `stride`-th pixel, new channels zero (option A)."""

    def __init__(self, stride: int, new_channels: int) -> None:
        super().__init__()
        self.stride = stride
        self.new_channels = new_channels

    def forward(self, images: Tensor) -> Tensor:
        """(n, c, h, w) -> (n, c + new_channels, ceil(h / stride), ceil(w / stride))."""
        coarse = images[:, :, :: self.stride, :: self.stride]
        return nn.functional.pad(coarse, (0, 0, 0, 0, 0, self.new_channels))


def _stage(narrow: int, wide: int, stride: int) -> nn.Sequential:
    shortcut = PaddedShortcut(stride, wide - narrow) if stride > 1 else None
    first = BasicBlock(narrow, wide, stride, shortcut)
    return nn.Sequential(first, BasicBlock(wide, wide), BasicBlock(wide, wide))


def _initialise(convolution: nn.Conv2d) -> None:
    # As torchvision initialises all other convolutions of a residual network.
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
