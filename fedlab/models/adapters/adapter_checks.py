"""Checks of networks with adapters, before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from fedlab.errors import InputError
from fedlab.models.adapters.lora_layers import B, is_adapted, merge
from fedlab.models.copies import copy_of

ROUNDING = 1e-3
"""Largest difference of a merged and an unmerged network's outputs, relative to the largest."""


def adapted_layers(model: nn.Module) -> dict[str, nn.Module]:
    """The layers of a network that have adapters, by path."""
    return {path: each for path, each in model.named_modules() if is_adapted(each)}


def refuse_lost_adapters(layers: Mapping[str, nn.Module], model: nn.Module, strategy: str) -> None:
    """Refuses a method that has replaced layers with adapters.

    Args:
        layers: The layers before the method has adapted the network.
        model: The network after that.
        strategy: The method's name.

    Raises:
        InputError: With the first such layer.
    """
    left = set(model.modules())
    for path, layer in layers.items():
        if layer not in left:
            raise InputError(
                f"model.adapt: {strategy} replaces the layer '{path}' by another one, with "
                "which its adapter is lost; leave it out of model.adapt.targets, or use another "
                "strategy"
            )


@torch.no_grad()
def check_adapters(model: nn.Module, samples: Tensor) -> None:
    """Refuses a network that reads weights of adapted layers past their ``forward``.

    With random numbers for B, outputs must be those of plain layers with the sum for a weight.

    Args:
        model: The network.
        samples: Two samples, as clients read them.

    Raises:
        InputError: If they are not.
    """
    if not adapted_layers(model):
        return
    changed = copy_of(model).cpu().eval()
    generator = torch.Generator().manual_seed(0)
    for layer in adapted_layers(changed).values():
        factor = layer.get_parameter(B)
        deviation = float(layer.get_parameter("weight").std(correction=0))
        factor.copy_(deviation * torch.randn(factor.shape, generator=generator))
    given = changed(samples.cpu())
    wanted = merge(copy_of(changed)).eval()(samples.cpu())
    scale = max(float(wanted.abs().max()), 1e-6)
    if not bool((given - wanted).abs().max() <= ROUNDING * scale):
        raise InputError(
            "model.adapt: the network uses the weights of layers with adapters in another way than "
            "by calling the layers, so that adapters would not count there; name as "
            "model.adapt.targets layers that are called"
        )
