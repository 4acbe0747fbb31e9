"""The works' networks as plain PyTorch, for runners that know nothing of fedlab.

Tensors have the names that fedlab's networks give them, so that all runners start from the same
values.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn

from benchmarks.works import Work


def build(work: Work) -> nn.Module:
    """The work's network with PyTorch's own initial values."""
    return BUILDERS[work.name](work)


def to_inputs(work: Work, batch: torch.Tensor) -> torch.Tensor:
    """Stored samples as the network wants them: images scaled to [-1, 1], channels innermost."""
    if not work.images:
        return batch
    scaled = batch.to(torch.float32).div_(127.5).sub_(1)
    return scaled.contiguous(memory_format=torch.channels_last)


def _linear(work: Work) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(work.input_shape[0], work.classes))


def _mlp(work: Work) -> nn.Module:
    (hidden,) = work.model["hidden"]
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(work.input_shape[0], hidden),
        nn.ReLU(),
        nn.Linear(hidden, work.classes),
    )


def _cnn(work: Work) -> nn.Module:
    channels, height, width = work.input_shape
    return nn.Sequential(
        nn.Conv2d(channels, 32, 3),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * ((height - 4) // 2) * ((width - 4) // 2), 128),
        nn.ReLU(),
        nn.Linear(128, work.classes),
    )


def _digits(work: Work) -> nn.Module:
    """The network of FedBN (Li et al., ICLR 2021, arXiv 2102.07623) on 3x28x28."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for index, (narrow, wide) in enumerate(((3, 64), (64, 64), (64, 128)), start=1):
        layers[f"conv{index}"] = nn.Conv2d(narrow, wide, 5, padding=2)
        layers[f"bn{index}"] = nn.BatchNorm2d(wide)
        layers[f"relu{index}"] = nn.ReLU()
        if index < 3:
            layers[f"pool{index}"] = nn.MaxPool2d(2)
    layers["flatten"] = nn.Flatten()
    for index, (narrow, wide) in enumerate(((128 * 7 * 7, 2048), (2048, 512)), start=1):
        layers[f"fc{index}"] = nn.Linear(narrow, wide)
        layers[f"bn{index + 3}"] = nn.BatchNorm1d(wide)
        layers[f"relu{index + 3}"] = nn.ReLU()
    layers["fc3"] = nn.Linear(512, work.classes)
    return nn.Sequential(layers)


def _resnet18(work: Work) -> nn.Module:
    """ResNet-18 of torchvision with GroupNorm and a 3x3 stem that keeps the resolution."""
    from torchvision.models import resnet18

    network = resnet18(
        num_classes=work.classes, norm_layer=lambda channels: nn.GroupNorm(32, channels)
    )
    network.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    network.set_submodule("maxpool", nn.Identity())
    return network


BUILDERS = {
    "lr": _linear,
    "idle": _linear,
    "mlp": _mlp,
    "cnn": _cnn,
    "digits": _digits,
    "femnist": _cnn,
    "resnet18": _resnet18,
    "cifar": _resnet18,
}
