"""Recognises normalisation layers: PyTorch's by type, custom ones by an attribute of their class.

class MyNorm(nn.Module):
    fedlab_normalises = "samples"      # each sample by itself; "batch": over the batch
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from torch import nn

from fedlab.errors import InputError

BATCH_NORMALISATION = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
NORMALISATION = (
    *BATCH_NORMALISATION,
    nn.InstanceNorm1d,
    nn.InstanceNorm2d,
    nn.InstanceNorm3d,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.RMSNorm,
)

SAYS = "fedlab_normalises"
"""The attribute of a custom normalisation's class: over what it normalises."""

KINDS = ("batch", "samples")

_LIKE = re.compile(r"norm(?!al_)|(^|[a-z0-9_])bn", re.IGNORECASE)


def normalises(module: nn.Module) -> bool:
    """Whether a layer is a normalisation."""
    return isinstance(module, NORMALISATION) or _said(module) is not None


def normalises_batch(module: nn.Module) -> bool:
    """Whether a layer normalises over the samples of a batch in training mode."""
    return isinstance(module, BATCH_NORMALISATION) or _said(module) == "batch"


def looks_like_normalisation(model: nn.Module) -> Iterator[tuple[str, str]]:
    """Paths and types of layers whose class name suggests a normalisation of unknown type.

    Only those with trainable parameters, which a method could keep local.
    """
    for path, module in model.named_modules():
        kind = type(module).__name__
        own = list(module.parameters(recurse=False))
        learns = any(each.requires_grad for each in own)
        if learns and _LIKE.search(kind) and not normalises(module):
            yield path, kind


def _said(module: nn.Module) -> str | None:
    said = getattr(module, SAYS, None)
    if said is None or said in KINDS:
        return said
    raise InputError(
        f"{type(module).__name__}.{SAYS} is {said!r}; it has to be "
        f"{' or '.join(repr(kind) for kind in KINDS)}"
    )
