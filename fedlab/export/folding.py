"""Removes operations that only training needs from a network, without changing its outputs."""

from __future__ import annotations

import torch
from torch import nn

from fedlab.models.surgery import replace_modules
from fedlab.models.views import ViewHead, ViewNetwork
from fedlab.models.weight_standardisation import WSConv2d


@torch.no_grad()
def fold_weight_standardisation(model: nn.Module) -> nn.Module:
    """Replaces every standardised convolution by a plain one with its standardised kernels.

    Inference then does not standardise them anew for every batch.

    Args:
        model: The network, changed in place.

    Returns:
        The network: `model`, unless it is itself a convolution.
    """
    return replace_modules(model, _plain)


def fold_view_heads(model: nn.Module) -> nn.Module:
    """Leaves of a network that learnt from views its plain head, unless views are aggregated.

    Args:
        model: The network, changed in place.

    Returns:
        The network as it was before a method put its outputs for views into it.
    """
    if not isinstance(model, ViewNetwork) or model.aggregates:
        return model
    return replace_modules(
        model.network, lambda module: module.plain if isinstance(module, ViewHead) else module
    )


def _plain(module: nn.Module) -> nn.Module:
    if not isinstance(module, WSConv2d):
        return module
    with torch.device("meta"):  # the values drawn here would be thrown away
        plain = nn.Conv2d(
            module.in_channels,
            module.out_channels,
            module.kernel_size,  # type: ignore[arg-type]
            stride=module.stride,  # type: ignore[arg-type]
            padding=module.padding,  # type: ignore[arg-type]
            dilation=module.dilation,  # type: ignore[arg-type]
            groups=module.groups,
            padding_mode=module.padding_mode,
            bias=module.bias is not None,
        )
    plain.weight = nn.Parameter(module.standardised_weight())
    plain.bias = module.bias
    return plain
