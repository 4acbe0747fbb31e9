"""Normalisation layers: which of their tensors travel, and their replacement.

Layers are recognised by their type (`fedlab.models.normalisation`), never by their name: the batch
normalisation of a residual shortcut in torchvision is called ``downsample.1``.
"""

from __future__ import annotations

from enum import StrEnum
from functools import partial
from typing import Literal

import torch
from torch import nn

from fedlab import rng
from fedlab.models.anatomy import anatomy_of
from fedlab.models.copies import copy_of
from fedlab.models.layers import CONVOLUTIONS
from fedlab.models.normalisation import BATCH_NORMALISATION, normalises, normalises_batch
from fedlab.models.surgery import replace_modules

LINEAR_MAPS = (nn.Linear, *CONVOLUTIONS)

MOST_GROUPS = 32
"""Largest number of groups of a group normalisation (Wu and He, ECCV 2018, use 32)."""


class NormPolicy(StrEnum):
    """Which tensors of normalisation layers leave the client; all other tensors always do."""

    SHARE_ALL = "share_all"
    """All of them, running statistics included (FedAvg)."""

    SHARE_AFFINE = "share_affine"
    """Scale and shift; the running statistics stay (SiloBN, Andreux et al. 2020)."""

    LOCAL_ALL = "local_all"
    """None (FedBN, Li et al., ICLR 2021, arXiv 2102.07623)."""


def local_names(model: nn.Module, policy: NormPolicy) -> tuple[str, ...]:
    """Names of the tensors that never leave the client.

    ``LOCAL_ALL`` keeps every tensor of every normalisation layer (batch, group, layer, instance,
    RMS). ``SHARE_AFFINE`` keeps running statistics only, which group and layer normalisation do
    not have; their scales and shifts then travel like any other parameter.

    Args:
        model: Any network.
        policy: Which tensors stay.

    Returns:
        Names of tensors that training changes, in the order of ``model.state_dict()``.
    """
    if policy is NormPolicy.SHARE_ALL:
        return ()
    local: set[str] = set()
    for path, module in model.named_modules(remove_duplicate=False):
        if normalises(module):
            tensors = dict(module.named_buffers(recurse=False))
            if policy is NormPolicy.LOCAL_ALL:
                tensors.update(module.named_parameters(recurse=False))
            local.update(f"{path}.{name}" if path else name for name in tensors)
    return anatomy_of(model).among(local)


def shared_names(model: nn.Module, policy: NormPolicy) -> tuple[str, ...]:
    """Names of the tensors that travel: all but the `local_names`, in ``state_dict`` order."""
    local = set(local_names(model, policy))
    return tuple(name for name in anatomy_of(model).moving if name not in local)


def has_batch_norm(model: nn.Module) -> bool:
    """Whether any layer is a batch normalisation."""
    return any(normalises_batch(module) for module in model.modules())


def learns_from_one(model: nn.Module, samples: torch.Tensor) -> bool:
    """Whether the network can train on a single sample.

    Batch normalisation cannot if a channel has a single value: after dense layers, and on feature
    maps of one pixel.

    Args:
        model: Any network; neither its tensors nor its mode are changed.
        samples: Inputs as they are stored, shape (n, ...), of which only the shape matters; int64
            ones may be ids.
    """
    if not has_batch_norm(model):
        return True
    copied = copy_of(model).train()
    one = torch.zeros(1, *samples.shape[1:], device=samples.device)
    one = one.to(next(copied.parameters()).dtype)
    try:
        with torch.no_grad(), rng.torch_seed(0, "trial"):
            try:
                copied(one)
            except RuntimeError:  # an embedding takes ids alone
                if samples.dtype != torch.int64:
                    raise
                copied(one.long())
    except ValueError:  # raised by PyTorch for a single value per channel
        return False
    return True


def convert_normalisation(
    model: nn.Module, norm: Literal["batch", "group", "layer", "none"]
) -> nn.Module:
    """Replaces the batch normalisation of any network by another kind.

    Draws no random numbers and does not change the values of other layers.

    Args:
        model: The network; changed in place.
        norm: ``batch`` changes nothing. ``group`` uses the largest number of groups that divides
            the width, at most 32, with at least two channels each where possible. ``layer``
            normalises over all channels and positions; after a dense layer it is equivalent to
            `torch.nn.LayerNorm`. ``none`` is `remove_normalisation`.

    Returns:
        The network: `model`, unless it is itself a batch normalisation.
    """
    if norm == "batch":
        return model
    if norm == "none":
        return remove_normalisation(model)
    return replace_modules(model, partial(_grouped, single=norm == "layer"))


def remove_normalisation(model: nn.Module) -> nn.Module:
    """Removes every normalisation layer, of any type, from a network.

    The layer before each gets a bias of zeros if it has none, in place of the removed shift.
    Activations are set to work out of place: one that followed a normalisation would otherwise
    overwrite the normalisation's input (the input of a pre-activation residual block).

    Args:
        model: The network; changed in place.

    Returns:
        The network: `model`, unless it is itself a normalisation layer.
    """
    before: nn.Module | None = None
    for module in model.modules():
        if isinstance(module, LINEAR_MAPS):
            before = module
        elif normalises(module) and before is not None:
            add_bias(before)
        if hasattr(module, "inplace"):
            setattr(module, "inplace", False)  # noqa: B010 - not an attribute of every module
    return replace_modules(model, lambda module: Removed() if normalises(module) else module)


class Removed(nn.Identity):
    """Stands where a normalisation layer was."""


def add_bias(layer: nn.Module) -> None:
    """Gives one of the `LINEAR_MAPS` a bias of zeros, unless it has a bias."""
    assert isinstance(layer, LINEAR_MAPS)
    if layer.bias is None:
        width = layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels
        layer.bias = nn.Parameter(layer.weight.new_zeros(width))


def _grouped(module: nn.Module, single: bool) -> nn.Module:
    if not isinstance(module, BATCH_NORMALISATION):
        return module
    channels = module.num_features
    tensor = next(module.parameters(), torch.empty(0))
    return nn.GroupNorm(
        num_groups=1 if single else _groups(channels),
        num_channels=channels,
        eps=module.eps,
        affine=module.affine,
        device=tensor.device,
        dtype=tensor.dtype,
    )


def _groups(channels: int) -> int:
    most = max(1, min(MOST_GROUPS, channels // 2))
    return next(groups for groups in range(most, 0, -1) if channels % groups == 0)
