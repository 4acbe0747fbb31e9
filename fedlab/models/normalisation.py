"""Which layers normalise: PyTorch's by their type, anybody's own by what their class says.

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
"""The attribute by which a class says that it normalises, and over what."""

KINDS = ("batch", "samples")

_LIKE = re.compile(r"norm(?!al_)|(^|[a-z0-9_])bn", re.IGNORECASE)


def normalises(module: nn.Module) -> bool:
    """Whether a layer is a normalisation."""
    return isinstance(module, NORMALISATION) or _said(module) is not None


def normalises_batch(module: nn.Module) -> bool:
    """Whether a layer normalises over the samples of a batch while it trains."""
    return isinstance(module, BATCH_NORMALISATION) or _said(module) == "batch"


def looks_like_normalisation(model: nn.Module) -> Iterator[tuple[str, str]]:
    """Paths and types of layers that are called a normalisation, and are of no known type.

    Only those with parameters that learn: what has none has nothing that a method could keep local.
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
